#pragma once

#include <utility>

namespace grouphead::core {

/// An object that calls find in this thread while a scope lives. `Tag` tells what it is for.
template <class T, class Tag>
class ThreadScope {
 public:
  /// `object` lives as long as what is made or called meanwhile. Null: there is none.
  explicit ThreadScope(T* object) noexcept : before_(std::exchange(current_, object)) {}
  ~ThreadScope() { current_ = before_; }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

  /// That of the innermost scope of this thread, or null.
  static T* current() noexcept { return current_; }

 private:
  inline static thread_local T* current_ = nullptr;
  T* before_;
};

}  // namespace grouphead::core
