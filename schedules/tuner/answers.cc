#include "schedules/tuner/answers.h"

namespace mha {

std::optional<Certificate> known_answer(const Database& database, const Subject& subject,
                                        const Schedule& schedule, double error) {
  std::optional<Certificate> known;
  for (const CertifiedSchedule& one : database.certificates(subject)) {
    if (one.schedule.stages != schedule.stages) continue;
    if (!one.certificate.faster || one.certificate.error <= error * (1 + 1e-9)) {
      known = one.certificate;
    }
  }
  return known;
}

Certificate ask(Database& database, const Subject& subject, const Schedule& schedule,
                const Start& start_candidate, const Start& start_default,
                const CertificateOptions& options, const TunerClock& clock) {
  CertifiedSchedule certified{schedule, certify(start_candidate, start_default, options)};
  certified.schedule.origin = "record";
  Certificate& certificate = certified.certificate;
  certificate.machine = subject.machine;
  certificate.generator = subject.generator;
  certificate.space = subject.space;
  certificate.time = clock.time();
  database.append(subject, certified);
  return certificate;
}

}  // namespace mha
