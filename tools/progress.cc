#include "tools/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <numbers>
#include <utility>
#include <vector>

#include "tools/output.h"

namespace grouphead::tools {
namespace {

std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

/// With its brackets and the blank behind it `columns` wide.
std::string bar(double fraction, std::size_t columns) {
  const auto width = static_cast<int>(columns) - 3;
  const int filled = static_cast<int>(fraction * width);
  return fmt::format("[{:=<{}}{: <{}}] ", "", filled, "", width - filled);
}

std::string duration(double seconds) {
  const auto whole = static_cast<Index>(seconds + 0.5);
  if (whole >= 3600)
    return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

Progress::Progress(bool quiet, Index total_steps, Index steps_done, Index units_per_step,
                   std::string_view unit)
    : quiet_(quiet),
      is_terminal_(::isatty(STDERR_FILENO) == 1),
      total_steps_(total_steps),
      first_step_(steps_done),
      units_per_step_(units_per_step),
      unit_(unit) {}

Progress::~Progress() { finish(); }

void Progress::update(Index step, double loss, std::optional<double> validation_loss,
                      double training_seconds) {
  if (quiet_) return;
  if (validation_loss) validation_loss_ = validation_loss;
  if (!is_terminal_) {
    if (validation_loss) {
      print_err("{}\n", line(step, loss, training_seconds));
    }
    return;
  }
  using namespace std::chrono_literals;
  const auto now = std::chrono::steady_clock::now();
  if (now - drawn_ < 100ms && step != total_steps_) return;
  drawn_ = now;
  line_is_open_ = true;
  write_err(
      fmt::format("\r{}\x1b[K", short_line(step, loss, training_seconds, terminal_columns() - 1)));
}

void Progress::finish() {
  if (line_is_open_) print_err("\n");
  line_is_open_ = false;
}

std::string Progress::speed(Index step, double training_seconds) const {
  const double rate = static_cast<double>(step - first_step_) / training_seconds;
  return fmt::format("{:.0f} {}s/s", rate * static_cast<double>(units_per_step_), unit_);
}

std::string Progress::time_left(Index step, double training_seconds) const {
  const double rate = static_cast<double>(step - first_step_) / training_seconds;
  return fmt::format("{} left", duration(static_cast<double>(total_steps_ - step) / rate));
}

std::string Progress::line(Index step, double loss, double training_seconds) const {
  std::string text = fmt::format("step {:>5}/{} loss {:.3f}  ", step, total_steps_, loss);
  if (validation_loss_) {
    text += fmt::format("validation {:.3f} ({:.3f} bits per {})  ", *validation_loss_,
                        *validation_loss_ / std::numbers::ln2, unit_);
  }
  return text + speed(step, training_seconds) + "  " + time_left(step, training_seconds);
}

std::string Progress::short_line(Index step, double loss, double training_seconds,
                                 std::size_t columns) const {
  constexpr std::size_t kWidestBar = 23;
  constexpr std::size_t kNarrowestBar = 8;
  constexpr std::size_t kWide = 72;  // columns, from which on the bar is not what gives way
  const std::string start = fmt::format("step {:>5}/{} ", step, total_steps_);
  std::vector<std::string> parts = {fmt::format("loss {:.3f}", loss)};
  if (validation_loss_) parts.push_back(fmt::format("validation {:.3f}", *validation_loss_));
  parts.push_back(time_left(step, training_seconds));
  parts.push_back(speed(step, training_seconds));
  const std::size_t reserved = columns >= kWide ? kWidestBar : 0;
  std::string text;  // as many parts as fit, the most wanted ones first
  for (const std::string& part : parts) {
    const std::string longer = text.empty() ? part : text + "  " + part;
    if (start.size() + reserved + longer.size() > columns) break;
    text = longer;
  }
  const std::size_t room = columns - std::min(columns, start.size() + text.size());
  const double done = static_cast<double>(step) / static_cast<double>(total_steps_);
  const std::string drawn = room < kNarrowestBar ? "" : bar(done, std::min(room, kWidestBar));
  return (start + drawn + text).substr(0, columns);
}

CountProgress::CountProgress(bool quiet, Index total, std::string unit)
    : total_(total), unit_(std::move(unit)), shown_(!quiet && ::isatty(STDERR_FILENO) == 1) {}

CountProgress::~CountProgress() {
  if (shown_) write_err("\r\x1b[K");
}

void CountProgress::update(Index done) const {
  if (shown_) write_err(fmt::format("\r{} of {} {}\x1b[K", done, total_, unit_));
}

}  // namespace grouphead::tools
