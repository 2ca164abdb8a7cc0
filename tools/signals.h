#pragma once

namespace grouphead::tools {

// SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal is gone) end the program, but never in the
// middle of a file that it writes.

/// Once, before anything else. A SIGHUP that is ignored (nohup) stays ignored.
void install_signal_handlers();

/// While one lives, the first signal only asks the work to stop; a second one ends the process.
class StopsOnSignal {
 public:
  StopsOnSignal();
  ~StopsOnSignal();
  StopsOnSignal(const StopsOnSignal&) = delete;
  StopsOnSignal& operator=(const StopsOnSignal&) = delete;
};

/// While one lives, no signal ends the process: it waits until the files are whole.
class WritesFiles {
 public:
  WritesFiles();
  ~WritesFiles();
  WritesFiles(const WritesFiles&) = delete;
  WritesFiles& operator=(const WritesFiles&) = delete;
};

/// Whether a signal asked the work to stop.
bool stop_requested() noexcept;
/// What a shell calls the end by that signal: 128 and its number, so 130 for Ctrl-C.
int exit_code_of_signal() noexcept;

}  // namespace grouphead::tools
