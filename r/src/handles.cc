#include "handles.h"

#include <unistd.h>

#include <algorithm>

#include "entries.h"
#include "values.h"

namespace gr {
namespace {

constexpr const char* kLayerClass = "grouphead_layer";
constexpr const char* kObjectClass = "grouphead_object";
constexpr const char* kSymbolClass = "grouphead_symbol";

template <class T>
SEXP make_pointer(std::unique_ptr<T> held, const char* tag) {
  const cpp11::sexp name = cpp11::safe[Rf_install](tag);
  cpp11::sexp pointer = cpp11::safe[R_MakeExternalPtr](held.get(), name, R_NilValue);
  held.release();
  cpp11::safe[R_RegisterCFinalizerEx](
      pointer,
      [](SEXP self) {
        delete static_cast<T*>(R_ExternalPtrAddr(self));
        R_ClearExternalPtr(self);
      },
      TRUE);
  return pointer;
}

template <class T>
T& pointed(SEXP pointer, const char* tag, const std::string& what) {
  if (TYPEOF(pointer) != EXTPTRSXP || R_ExternalPtrTag(pointer) != Rf_install(tag)) {
    refuse(what, tag, pointer);
  }
  auto* held = static_cast<T*>(R_ExternalPtrAddr(pointer));
  if (held != nullptr) return *held;
  throw gh::ConfigError("[R] " + what + ": expected a " + tag +
                        " of this session, got one whose memory is gone: saveRDS() and other "
                        "processes cannot keep it, save_model() can");
}

struct Settings {
  gh::ContextOptions options{};
  std::unique_ptr<gh::Context> context{};
  pid_t process = 0;
};

// Never destroyed: finalizers run until R ends.
Settings& settings() {
  static auto* held = new Settings;
  return *held;
}

}  // namespace

bool is_layer(SEXP value) { return TYPEOF(value) == CLOSXP && Rf_inherits(value, kLayerClass); }

Holder& holder_of(SEXP value, const std::string& what) {
  SEXP pointer = value;
  if (is_layer(value)) pointer = Rf_getAttrib(value, Rf_install("pointer"));
  return pointed<Holder>(pointer, "layer", what);
}

const std::shared_ptr<gh::Layer>& layer_of(SEXP value, const std::string& what) {
  return holder_of(value, what).layer;
}

gh::Model& model_of(SEXP value, const std::string& what) {
  auto* model = dynamic_cast<gh::Model*>(layer_of(value, what).get());
  if (model == nullptr) {
    throw gh::ConfigError("[R] " + what + ": expected a model, got the layer '" +
                          layer_of(value, what)->name() + "'");
  }
  return *model;
}

SEXP make_layer_pointer(std::shared_ptr<gh::Layer> layer) {
  return make_holder_pointer(std::make_unique<Holder>(Holder{.layer = std::move(layer)}));
}
SEXP make_holder_pointer(std::unique_ptr<Holder> holder) {
  return make_pointer(std::move(holder), "layer");
}

bool is_symbol(SEXP value) {
  return TYPEOF(value) == EXTPTRSXP && Rf_inherits(value, kSymbolClass);
}

const gh::Symbol& symbol_of(SEXP value, const std::string& what) {
  return pointed<gh::Symbol>(value, "symbol", what);
}

SEXP make_symbol(const gh::Symbol& symbol) {
  cpp11::sexp pointer = make_pointer(std::make_unique<gh::Symbol>(symbol), "symbol");
  const cpp11::sexp name = from_text(kSymbolClass);
  cpp11::safe[Rf_setAttrib](pointer, R_ClassSymbol, name);
  return pointer;
}

SEXP description_of(SEXP value) {
  if (TYPEOF(value) != CLOSXP || !Rf_inherits(value, kObjectClass)) return R_NilValue;
  return Rf_getAttrib(value, Rf_install("config"));
}

gh::Context& context() {
  Settings& held = settings();
  if (held.context == nullptr) {
    held.context = std::make_unique<gh::Context>(held.options);
    held.process = getpid();
  }
  if (held.process == getpid()) return *held.context;
  throw gh::ConfigError(
      "[R] process: expected the one that computed first, got its fork, which has no threads of "
      "its own: use parallel::makePSOCKcluster() and load_model() in each worker");
}

void enable_flash_attention(bool enable) {
  Settings& held = settings();
  held.options.flash_attention = enable ? gh::FlashAttention::automatic : gh::FlashAttention::off;
  held.context.reset();
}
bool is_flash_attention_enabled() {
  return settings().options.flash_attention == gh::FlashAttention::automatic;
}

void set_threads(gh::Index threads) {
  context();  // not in a fork
  Settings& held = settings();
  gh::ContextOptions options = held.options;
  options.num_threads = static_cast<int>(std::clamp<gh::Index>(threads, -1, 1 << 16));
  auto context = std::make_unique<gh::Context>(options);
  held.options = options;
  held.context = std::move(context);
  held.process = getpid();
}

}  // namespace gr

SEXP gr_flash_attention(SEXP enable) {
  BEGIN_CPP11
  if (!Rf_isNull(enable)) gr::enable_flash_attention(gr::to_flag(enable, "enable"));
  return cpp11::safe[Rf_ScalarLogical](gr::is_flash_attention_enabled() ? 1 : 0);
  END_CPP11
}

SEXP gr_threads(SEXP threads) {
  BEGIN_CPP11
  if (!Rf_isNull(threads)) gr::set_threads(gr::to_index(threads, "threads"));
  return cpp11::safe[Rf_ScalarInteger](gr::context().num_threads());
  END_CPP11
}
