/* Prints the workspace of the largest call of the kernel NAME with THREADS threads. */
#include <stdio.h>
#include <string.h>

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#include HEADER

int main(void) {
  JOIN(NAME, _args) args;
  memset(&args, 0, sizeof args);
  args.call.size = sizeof args;
  size_t bytes = 0;
  if (JOIN(NAME, _workspace_size)(&args, THREADS, &bytes) != MHA_OK) {
    fprintf(stderr, "%s: %s\n", TEXT(NAME), mha_last_message());
    return 1;
  }
  printf("%zu\n", bytes);
  return 0;
}
