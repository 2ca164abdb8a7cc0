#pragma once

#include <functional>
#include <string>
#include <utility>

#include "core/thread_scope.h"

namespace grouphead::parallel {

/// Does work, and notes when it was done. `is_communication`: in a thread of its own, beside the
/// computation. Called by several threads.
using Watch =
    std::function<void(std::string name, bool is_communication, const std::function<void()>& work)>;
/// The watch over what is called in this thread meanwhile.
using WatchScope = core::ThreadScope<const Watch, struct WatchedWork>;

/// work(), by the watch where there is one.
template <class Work>
void watched(const Watch* watch, std::string name, bool is_communication, Work&& work) {
  if (watch == nullptr) return work();
  (*watch)(std::move(name), is_communication, work);
}

}  // namespace grouphead::parallel
