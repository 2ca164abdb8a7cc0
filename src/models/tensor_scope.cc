#include "models/tensor_scope.h"

#include <utility>

namespace grouphead::models {
namespace {

thread_local Communicator* current = nullptr;

}  // namespace

TensorScope::TensorScope(Communicator* job) noexcept : before_(std::exchange(current, job)) {}

TensorScope::~TensorScope() { current = before_; }

Communicator* tensor_job() noexcept { return current; }

}  // namespace grouphead::models
