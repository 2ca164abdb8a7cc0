#pragma once

#include <stdexcept>
#include <string>

#pragma GCC visibility push(default)
namespace grouphead {

/// Base of everything the library throws on purpose. Texts have the form
/// `[operation] operand: expected ..., got ...`.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An impossible configuration, found while an object is made.
class ConfigError : public Error {
 public:
  using Error::Error;
};

/// Operands that do not fit an operation, found while it is called, before anything is written.
class ShapeError : public Error {
 public:
  using Error::Error;
};

/// A file that cannot be read, written or believed.
class IoError : public Error {
 public:
  using Error::Error;
};

}  // namespace grouphead
#pragma GCC visibility pop
