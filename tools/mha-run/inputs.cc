#include "tools/mha-run/inputs.h"

#include "generator/spec/error.h"

namespace mha {

HostTensors read_inputs(const Spec& spec, const CallLengths& lengths, const TensorFile& file) {
  HostTensors tensors;
  std::string known;
  for (const TensorDecl& decl : input_tensors(spec, lengths)) {
    tensors.emplace(decl.name, file.read(decl));
    known += (known.empty() ? "" : ", ") + decl.name;
  }
  for (const std::string& name : file.names()) {
    if (tensors.count(name) == 0) {
      throw UserError("'" + file.path() + "' has a tensor '" + name +
                      "' that this config does not read; it reads " + known);
    }
  }
  return tensors;
}

}  // namespace mha
