# The dialect's tests. Parameters: tools, a list of folders separated by ':' that hold mha-opt, FileCheck and not;
# docs, the project's docs folder.
import os

import lit.formats

config.name = "mha dialect"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.test_source_root = os.path.dirname(__file__)
config.test_exec_root = lit_config.params["output"]
config.environment["PATH"] = os.pathsep.join([lit_config.params["tools"], os.environ["PATH"]])
config.substitutions.append(("%docs", lit_config.params["docs"]))
