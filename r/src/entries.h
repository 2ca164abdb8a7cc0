#pragma once

// The functions that R calls. Each takes and gives R's values, and turns what the library throws
// into an error of R.

#include <cpp11/declarations.hpp>

extern "C" {
// layers.cc
SEXP gr_class_names();
SEXP gr_make_layer(SEXP class_name, SEXP config);
SEXP gr_layer_info(SEXP layer);
SEXP gr_input(SEXP shape, SEXP batch_size, SEXP dtype, SEXP name, SEXP optional);
SEXP gr_symbol_info(SEXP symbol);
SEXP gr_connect(SEXP layer, SEXP operands, SEXP keywords);
SEXP gr_call(SEXP layer, SEXP operands, SEXP keywords, SEXP seed);
SEXP gr_operation(SEXP name, SEXP operands, SEXP options);
SEXP gr_set_trainable(SEXP layer, SEXP trainable);
SEXP gr_get_weights(SEXP layer);
SEXP gr_set_weights(SEXP layer, SEXP weights);
// models.cc
SEXP gr_model(SEXP inputs, SEXP outputs, SEXP name, SEXP seed);
SEXP gr_sequential(SEXP name, SEXP trainable, SEXP seed);
SEXP gr_add(SEXP model, SEXP layer);
SEXP gr_build(SEXP model, SEXP shapes, SEXP seed);
SEXP gr_model_info(SEXP model);
SEXP gr_load_model(SEXP file, SEXP compile);
SEXP gr_save_model(SEXP model, SEXP file);
SEXP gr_load_weights(SEXP model, SEXP file);
SEXP gr_save_weights(SEXP model, SEXP file);
SEXP gr_to_json(SEXP model);
SEXP gr_from_json(SEXP text, SEXP seed);
// rules.cc
SEXP gr_check_rule(SEXP kind, SEXP envelope);
SEXP gr_initialize(SEXP envelope, SEXP shape, SEXP seed);
SEXP gr_penalty(SEXP envelope, SEXP x);
SEXP gr_constrain(SEXP envelope, SEXP w);
SEXP gr_loss(SEXP envelope, SEXP y_true, SEXP y_pred, SEXP sample_weight, SEXP each);
SEXP gr_metric(SEXP envelope, SEXP y_true, SEXP y_pred, SEXP sample_weight);
// training.cc
SEXP gr_compile(SEXP model, SEXP config, SEXP auto_scale_loss);
SEXP gr_fit(SEXP model, SEXP data, SEXP validation, SEXP settings, SEXP callbacks, SEXP progress);
SEXP gr_evaluate(SEXP model, SEXP data, SEXP batch_size, SEXP steps, SEXP callbacks);
SEXP gr_predict(SEXP model, SEXP x, SEXP batch_size, SEXP seed);
SEXP gr_batch(SEXP model, SEXP data, SEXP train);
SEXP gr_learning_rate(SEXP model, SEXP rate);
// text.cc
SEXP gr_vocabulary(SEXP layer);
SEXP gr_set_vocabulary(SEXP layer, SEXP tokens, SEXP idf_weights);
SEXP gr_adapt(SEXP layer, SEXP data);
// handles.cc
SEXP gr_flash_attention(SEXP enable);
SEXP gr_threads(SEXP threads);
}
