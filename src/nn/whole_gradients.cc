#include "nn/whole_gradients.h"

#include <utility>

namespace grouphead::nn {
namespace {

thread_local const WholeGradientsScope::Listener* current = nullptr;

}  // namespace

WholeGradientsScope::WholeGradientsScope(const Listener* listener) noexcept
    : before_(std::exchange(current, listener)) {}

WholeGradientsScope::~WholeGradientsScope() { current = before_; }

const WholeGradientsScope::Listener* whole_gradients_listener() noexcept { return current; }

}  // namespace grouphead::nn
