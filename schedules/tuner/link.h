// Candidates as programs: one static executable each, which runs wherever its code does.
#ifndef MHA_SCHEDULES_TUNER_LINK_H_
#define MHA_SCHEDULES_TUNER_LINK_H_

#include <string>
#include <vector>

namespace mha {

class Linker {
 public:
  // Writes the archives of probe_archives() into the folder, which must outlive this. `extra` goes
  // to the compiler as it is: tests put further objects in.
  Linker(const std::string& folder, std::vector<std::string> extra);

  // Links `candidate`, an archive with the kernel "candidate", or without one ("") a program that
  // says hello and no more. Returns "" or the compiler's message.
  std::string link(const std::string& candidate, const std::string& program) const;
  // $CXX, which may hold arguments after the program, or c++.
  const std::vector<std::string>& compiler() const { return compiler_; }

 private:
  std::string folder_;
  std::vector<std::string> compiler_, extra_, archives_;
};

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_LINK_H_
