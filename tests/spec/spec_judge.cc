// Judges configs for the schema test: reads one JSON text a line, and prints for each line what the
// parser finds: "structure" (what the table of keys says), "rules" (all that lies beyond) or
// "good".
#include <iostream>
#include <string>

#include "generator/spec/reader.h"
#include "generator/spec/structure.h"
#include "generator/spec/yaml.h"

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::vector<mha::Diagnostic> problems;
    std::optional<mha::YamlNode> config = mha::read_yaml(line, "line", &problems);
    if (config) mha::check_structure(&*config, &problems);
    if (!problems.empty() || !config) {
      std::cout << "structure " << (problems.empty() ? "" : problems.front().message) << "\n";
      continue;
    }
    mha::read_spec(*config, line, "line", &problems);
    std::cout << (problems.empty() ? "good" : "rules " + problems.front().message) << "\n";
  }
}
