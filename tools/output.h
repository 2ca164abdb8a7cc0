#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace grouphead::tools {

// What the program says. Results go to stdout: none may get lost without a word. Everything else
// goes to stderr, and nobody has to read it: a write that fails there is left out.

/// Opens what stands in for standard streams that are closed, so that no file gets their numbers,
/// and makes failing writes errors instead of signals. Once, before anything else.
void prepare_output();

/// Bytes for stdout as they are. A failure does not end the work: flush_output() reports it.
void write_out(std::string_view bytes);
/// Text for stdout, without what would act on a terminal.
void print_out_text(std::string_view text);
template <class... Values>
void print_out(fmt::format_string<Values...> format, Values&&... values) {
  print_out_text(fmt::format(format, std::forward<Values>(values)...));
}
/// Gives stdout all there is. Errors: IoError with the system's reason when stdout refused anything
/// so far. A reader that went away (`| head`) ends the process by SIGPIPE, as usual.
void flush_output();
/// The same, for the last time: also what is only found out when a file is closed.
void close_output();

/// Bytes for stderr as they are.
void write_err(std::string_view bytes) noexcept;
/// Text for stderr, without what would act on a terminal.
void print_err_text(std::string_view text);
template <class... Values>
void print_err(fmt::format_string<Values...> format, Values&&... values) {
  print_err_text(fmt::format(format, std::forward<Values>(values)...));
}

}  // namespace grouphead::tools
