#include "tools/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <system_error>

#include "grouphead/core/error.h"
#include "tools/printable.h"

namespace grouphead::tools {
namespace {

int refusal = 0;  // the system's reason why stdout took no more; 0: it took all
bool closed_pipe_ends_process = false;

void note_refusal() {
  if (refusal == 0) refusal = errno != 0 ? errno : EIO;
}

void report_refusal() {
  if (refusal == 0) return;
  if (refusal == EPIPE && closed_pipe_ends_process) {
    std::signal(SIGPIPE, SIG_DFL);
    std::raise(SIGPIPE);
  }
  throw IoError("stdout: " + std::generic_category().message(refusal));
}

}  // namespace

void prepare_output() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    // The lowest free number is this one. Opened the wrong way round: every use fails as before.
    const int stand_in = ::open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
    if (stand_in < 0) return;
  }
  closed_pipe_ends_process = std::signal(SIGPIPE, SIG_IGN) == SIG_DFL;
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit is an error of the write
}

void write_out(std::string_view bytes) {
  if (refusal != 0 || bytes.empty()) return;
  errno = 0;
  if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size()) note_refusal();
}

void print_out_text(std::string_view text) { write_out(printable(text, /*keeps_lines=*/true)); }

void flush_output() {
  errno = 0;
  if (refusal == 0 && std::fflush(stdout) != 0) note_refusal();
  report_refusal();
}

void close_output() {
  flush_output();
  errno = 0;
  if (std::fclose(stdout) != 0) note_refusal();
  report_refusal();
}

void write_err(std::string_view bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t count = ::write(STDERR_FILENO, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

void print_err_text(std::string_view text) { write_err(printable(text, /*keeps_lines=*/true)); }

}  // namespace grouphead::tools
