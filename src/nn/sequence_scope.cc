#include "nn/sequence_scope.h"

#include <utility>

namespace grouphead::nn {
namespace {

thread_local Communicator* current = nullptr;

}  // namespace

SequenceScope::SequenceScope(Communicator* job) noexcept : before_(std::exchange(current, job)) {}

SequenceScope::~SequenceScope() { current = before_; }

Communicator* sequence_job() noexcept { return current; }

}  // namespace grouphead::nn
