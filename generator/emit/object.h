// Objects and archives: what goes into a generated library, cleaned of everything but our own
// symbols.
#ifndef MHA_GENERATOR_EMIT_OBJECT_H_
#define MHA_GENERATOR_EMIT_OBJECT_H_

#include <string>
#include <vector>

namespace mha {

struct Object {
  std::string name;   // of the archive member: "attention.o"
  std::string bytes;  // ELF, relocatable
};

// Renames the references to Halide's runtime (halide_malloc and the like become mha_halide_malloc),
// hides every symbol that the object defines from the dynamic linker, and drops debug information.
// Then holds the rules: defined symbols start with `prefix`, undefined ones are on the list of what
// a generated library may need. `sanitized` objects may also call their sanitizer. Throws
// InternalError on a broken rule.
std::string clean_object(const std::string& bytes, const std::string& prefix, bool sanitized);

// The same rules for an object whose symbols are public.
void check_object(const std::string& bytes, const std::string& prefix, bool sanitized);

// A GNU archive without times, users or modes of its own.
std::string make_archive(const std::vector<Object>& objects);

}  // namespace mha

#endif  // MHA_GENERATOR_EMIT_OBJECT_H_
