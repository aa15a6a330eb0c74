// A user's own ahead-of-time pipeline: parallel, so that it needs the thread pool of Halide's
// runtime.
#include <Halide.h>

int main(int, char** argv) {
  Halide::ImageParam input(Halide::Float(32), 1, "input");
  Halide::Func brighten("brighten");
  Halide::Var x("x"), block("block");
  brighten(x) = input(x) + 1.0f;
  brighten.split(x, block, x, 64).parallel(block);
  brighten.compile_to_static_library(argv[1], {input}, "brighten");
}
