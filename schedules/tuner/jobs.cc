#include "schedules/tuner/jobs.h"

namespace mha {

Job job_of(const StageSearch& search, Proposal& proposal) {
  return {search.stage(), proposal.text, proposal.index, &proposal.schedule, &proposal};
}

std::vector<std::vector<Job>> zipped(const std::vector<std::vector<Job>>& stages) {
  std::vector<std::vector<Job>> candidates;
  for (const std::vector<Job>& jobs : stages) {
    for (size_t i = 0; i < jobs.size(); ++i) {
      if (i == candidates.size()) candidates.emplace_back();
      candidates[i].push_back(jobs[i]);
    }
  }
  return candidates;
}

Candidate candidate_of(const std::vector<Job>& jobs, const Schedule& schedule,
                       const std::string& autoscheduler) {
  Candidate candidate{schedule, ""};
  for (const Job& job : jobs) {
    if (job.schedule == nullptr) {
      candidate.autoscheduler = autoscheduler;
      continue;
    }
    for (StageSchedule& stage : candidate.schedule.stages) {
      if (stage.stage == job.stage) stage = *job.schedule;
    }
  }
  return candidate;
}

}  // namespace mha
