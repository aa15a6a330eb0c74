# Prints the text of fenced mlir block number `want`.
/^```/ { inside = /^```mlir/ && ++block == want; next }
inside
