// What R is told of the shared object: the functions of entries.h.

#include <R_ext/Rdynload.h>

#include "entries.h"

namespace {

template <class... Arguments>
R_CallMethodDef entry(const char* name, SEXP (*function)(Arguments...)) {
  void* address = reinterpret_cast<void*>(function);
  return {name, reinterpret_cast<DL_FUNC>(address), sizeof...(Arguments)};
}
#define ENTRY(function) entry(#function, function)

const R_CallMethodDef kEntries[] = {
    ENTRY(gr_class_names),   ENTRY(gr_make_layer),
    ENTRY(gr_layer_info),    ENTRY(gr_input),
    ENTRY(gr_symbol_info),   ENTRY(gr_connect),
    ENTRY(gr_call),          ENTRY(gr_operation),
    ENTRY(gr_set_trainable), ENTRY(gr_get_weights),
    ENTRY(gr_set_weights),   ENTRY(gr_model),
    ENTRY(gr_sequential),    ENTRY(gr_add),
    ENTRY(gr_build),         ENTRY(gr_model_info),
    ENTRY(gr_load_model),    ENTRY(gr_save_model),
    ENTRY(gr_load_weights),  ENTRY(gr_save_weights),
    ENTRY(gr_to_json),       ENTRY(gr_from_json),
    ENTRY(gr_check_rule),    ENTRY(gr_initialize),
    ENTRY(gr_penalty),       ENTRY(gr_constrain),
    ENTRY(gr_loss),          ENTRY(gr_metric),
    ENTRY(gr_compile),       ENTRY(gr_fit),
    ENTRY(gr_evaluate),      ENTRY(gr_predict),
    ENTRY(gr_batch),         ENTRY(gr_learning_rate),
    ENTRY(gr_vocabulary),    ENTRY(gr_set_vocabulary),
    ENTRY(gr_adapt),         ENTRY(gr_flash_attention),
    ENTRY(gr_threads),       {nullptr, nullptr, 0},
};

}  // namespace

extern "C" void R_init_grouphead(DllInfo* library) {
  R_registerRoutines(library, nullptr, kEntries, nullptr, nullptr);
  R_useDynamicSymbols(library, FALSE);
  R_forceSymbols(library, TRUE);
}
