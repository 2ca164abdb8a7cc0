#include "tools/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <numbers>

namespace grouphead::tools {
namespace {

std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

std::string bar(double fraction) {
  constexpr int kWidth = 20;
  const int filled = static_cast<int>(fraction * kWidth);
  return fmt::format("[{:=<{}}{: <{}}] ", "", filled, "", kWidth - filled);
}

std::string duration(double seconds) {
  const auto whole = static_cast<Index>(seconds + 0.5);
  if (whole >= 3600)
    return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

}  // namespace

Progress::Progress(bool quiet, Index total_steps, Index steps_done, Index tokens_per_step)
    : quiet_(quiet),
      is_terminal_(::isatty(STDERR_FILENO) == 1),
      total_steps_(total_steps),
      first_step_(steps_done),
      tokens_per_step_(tokens_per_step) {}

Progress::~Progress() { finish(); }

void Progress::update(Index step, double loss, std::optional<double> validation_loss,
                      double training_seconds) {
  if (quiet_) return;
  if (validation_loss) validation_loss_ = validation_loss;
  if (!is_terminal_) {
    if (validation_loss) {
      fmt::print(stderr, "{}\n", line(step, loss, training_seconds, false));
    }
    return;
  }
  using namespace std::chrono_literals;
  const auto now = std::chrono::steady_clock::now();
  if (now - drawn_ < 100ms && step != total_steps_) return;
  drawn_ = now;
  line_is_open_ = true;
  std::string text = line(step, loss, training_seconds, true);
  text.resize(std::min(text.size(), terminal_columns() - 1));
  fmt::print(stderr, "\r{}\x1b[K", text);
  std::fflush(stderr);
}

void Progress::finish() {
  if (line_is_open_) fmt::print(stderr, "\n");
  line_is_open_ = false;
}

std::string Progress::line(Index step, double loss, double training_seconds, bool with_bar) const {
  const double done = static_cast<double>(step - first_step_);
  const double left = static_cast<double>(total_steps_ - step);
  const double rate = done / training_seconds;
  std::string text = fmt::format("step {:>5}/{} ", step, total_steps_);
  if (with_bar) text += bar(static_cast<double>(step) / static_cast<double>(total_steps_));
  text += fmt::format("loss {:.3f}  ", loss);
  if (validation_loss_) {
    text += fmt::format("validation {:.3f} ({:.3f} bits per byte)  ", *validation_loss_,
                        *validation_loss_ / std::numbers::ln2);
  }
  text += fmt::format("{:.0f} tokens/s  {} left", rate * static_cast<double>(tokens_per_step_),
                      duration(left / rate));
  return text;
}

}  // namespace grouphead::tools
