#include "train/job_sums.h"

#include <algorithm>

namespace grouphead::train {
namespace {

void set_zero(const JobSums::Parts& parts) {
  for (const auto& metric : parts) {
    for (const std::span<double> numbers : metric) std::ranges::fill(numbers, 0);
  }
}

// Of each metric: how many numbers, and which.
std::vector<double> text_of(const JobSums::Parts& parts) {
  std::vector<double> text;
  for (const auto& metric : parts) {
    const std::size_t count_at = text.size();
    text.push_back(0);
    for (const std::span<double> numbers : metric) {
      text.insert(text.end(), numbers.begin(), numbers.end());
    }
    text[count_at] = static_cast<double>(text.size() - count_at - 1);
  }
  return text;
}

void add(std::span<const double> text, std::vector<std::vector<double>>& totals) {
  for (std::size_t metric = 0; !text.empty(); ++metric) {
    const auto count = static_cast<std::size_t>(text[0]);
    if (totals.size() <= metric) totals.emplace_back();
    if (totals[metric].size() < count) totals[metric].resize(count);
    for (std::size_t i = 0; i < count; ++i) totals[metric][i] += text[i + 1];
    text = text.subspan(count + 1);
  }
}

}  // namespace

void JobSums::collect(Communicator& job, const Parts& own) {
  if (job.size() == 1) return;  // own numbers are the job's
  std::vector<double> text = text_of(own);
  const std::vector<double> sizes = job.all_gather(static_cast<double>(text.size()));
  const auto most = static_cast<std::size_t>(*std::ranges::max_element(sizes));
  text.resize(most);
  std::vector<double> all(most * sizes.size());
  job.all_gather(std::as_bytes(std::span(text)), std::as_writable_bytes(std::span(all)));
  for (std::size_t rank = 0; rank < sizes.size(); ++rank) {
    add(std::span(all).subspan(rank * most, static_cast<std::size_t>(sizes[rank])), totals_);
  }
  set_zero(own);
}

JobSums::Shown::Shown(const JobSums& sums, const Parts& own)
    : own_(own), are_shown_(!sums.totals_.empty()) {
  for (std::size_t metric = 0; are_shown_ && metric < own.size(); ++metric) {
    const double* from = sums.totals_[metric].data();
    for (const std::span<double> numbers : own[metric]) {
      std::ranges::copy_n(from, static_cast<std::ptrdiff_t>(numbers.size()), numbers.begin());
      from += numbers.size();
    }
  }
}

JobSums::Shown::~Shown() {
  if (are_shown_) set_zero(own_);
}

}  // namespace grouphead::train
