// Proposals on their way through the lab: a candidate takes one of each stage.
#ifndef MHA_SCHEDULES_TUNER_JOBS_H_
#define MHA_SCHEDULES_TUNER_JOBS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "schedules/tuner/search.h"
#include "schedules/tuner/trial.h"

namespace mha {

// A proposal of one stage.
struct Job {
  std::string stage;
  std::string text;  // of the trial
  int64_t index = 0;
  const StageSchedule* schedule = nullptr;  // null: an autoscheduler's
  Proposal* proposal = nullptr;             // takes the answer; null: nobody
};

// The proposal must outlive it.
Job job_of(const StageSearch& search, Proposal& proposal);

// By stage -> by candidate: one job of each stage, as long as there are some.
std::vector<std::vector<Job>> zipped(const std::vector<std::vector<Job>>& stages);

// `schedule` with the stages of the jobs in their places.
Candidate candidate_of(const std::vector<Job>& jobs, const Schedule& schedule,
                       const std::string& autoscheduler);

}  // namespace mha

#endif  // MHA_SCHEDULES_TUNER_JOBS_H_
