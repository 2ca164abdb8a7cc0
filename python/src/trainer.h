#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "grouphead/models/model.h"
#include "grouphead/train/fit.h"

namespace grouphead::python {

/// A model with what it is trained by.
class Trainer {
 public:
  Trainer(std::shared_ptr<Model> model, std::unique_ptr<CompiledModel> compiled)
      : model_(std::move(model)), compiled_(std::move(compiled)) {}
  CompiledModel& compiled() const noexcept { return *compiled_; }

  /// One fit() at a time. Errors: ConfigError where another one is running, in this thread (of a
  /// callback) or another.
  class Running {
   public:
    explicit Running(Trainer& trainer) : trainer_(trainer) {
      if (trainer_.is_running_.exchange(true)) {
        throw ConfigError("[fit] model: expected one that is not training, got one inside fit()");
      }
    }
    ~Running() { trainer_.is_running_ = false; }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

   private:
    Trainer& trainer_;
  };

 private:
  std::shared_ptr<Model> model_;
  std::unique_ptr<CompiledModel> compiled_;
  std::atomic<bool> is_running_ = false;
};

}  // namespace grouphead::python
