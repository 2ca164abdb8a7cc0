# Optimizers and learning rate schedules, under keras3's names.

optimizer_adadelta <- function(
  learning_rate = 0.001, rho = 0.95, epsilon = 1e-07, weight_decay = NULL, clipnorm = NULL,
  clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE, ema_momentum = 0.99,
  ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "Adadelta")

optimizer_adafactor <- function(
  learning_rate = 0.001, beta_2_decay = -0.8, epsilon_1 = 1e-30, epsilon_2 = 0.001,
  clip_threshold = 1, relative_step = TRUE, weight_decay = NULL, clipnorm = NULL,
  clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE, ema_momentum = 0.99,
  ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "Adafactor")

optimizer_adagrad <- function(
  learning_rate = 0.001, initial_accumulator_value = 0.1, epsilon = 1e-07, weight_decay = NULL,
  clipnorm = NULL, clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE, ema_momentum = 0.99,
  ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "Adagrad")

optimizer_adam <- function(
  learning_rate = 0.001, beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-07, amsgrad = FALSE,
  weight_decay = NULL, clipnorm = NULL, clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE,
  ema_momentum = 0.99, ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "Adam")

optimizer_adam_w <- function(
  learning_rate = 0.001, weight_decay = 0.004, beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-07,
  amsgrad = FALSE, clipnorm = NULL, clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE,
  ema_momentum = 0.99, ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "AdamW")

optimizer_adamax <- function(
  learning_rate = 0.001, beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-07, weight_decay = NULL,
  clipnorm = NULL, clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE, ema_momentum = 0.99,
  ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "Adamax")

optimizer_ftrl <- function(
  learning_rate = 0.001, learning_rate_power = -0.5, initial_accumulator_value = 0.1,
  l1_regularization_strength = 0, l2_regularization_strength = 0,
  l2_shrinkage_regularization_strength = 0, beta = 0, weight_decay = NULL, clipnorm = NULL,
  clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE, ema_momentum = 0.99,
  ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "Ftrl")

optimizer_lamb <- function(
  learning_rate = 0.001, beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-07, weight_decay = NULL,
  clipnorm = NULL, clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE, ema_momentum = 0.99,
  ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "Lamb")

optimizer_lion <- function(
  learning_rate = 0.001, beta_1 = 0.9, beta_2 = 0.99, weight_decay = NULL, clipnorm = NULL,
  clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE, ema_momentum = 0.99,
  ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "Lion")

optimizer_loss_scale_optimizer <- function(
  inner_optimizer, initial_scale = 32768, dynamic_growth_steps = 2000L, name = NULL, ...,
  loss_scale_factor = NULL, gradient_accumulation_steps = NULL
) new_object("optimizer", "LossScaleOptimizer")

optimizer_muon <- function(
  learning_rate = 0.001, adam_beta_1 = 0.9, adam_beta_2 = 0.999, adam_weight_decay = 0.004,
  epsilon = 1e-07, weight_decay = 0.004, clipnorm = NULL, clipvalue = NULL,
  global_clipnorm = NULL, use_ema = FALSE, ema_momentum = 0.99, ema_overwrite_frequency = NULL,
  name = NULL, exclude_layers = NULL, exclude_embeddings = TRUE, muon_a = 3.4445, muon_b = -4.775,
  muon_c = 2.0315, adam_lr_ratio = 1L, momentum = 0.95, ns_steps = 5L, nesterov = TRUE,
  rms_rate = 0.2, ..., loss_scale_factor = NULL, gradient_accumulation_steps = NULL
) new_object("optimizer", "Muon")

optimizer_nadam <- function(
  learning_rate = 0.001, beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-07, weight_decay = NULL,
  clipnorm = NULL, clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE, ema_momentum = 0.99,
  ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "Nadam")

optimizer_rmsprop <- function(
  learning_rate = 0.001, rho = 0.9, momentum = 0, epsilon = 1e-07, centered = FALSE,
  weight_decay = NULL, clipnorm = NULL, clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE,
  ema_momentum = 0.99, ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "RMSprop")

optimizer_sgd <- function(
  learning_rate = 0.01, momentum = 0, nesterov = FALSE, weight_decay = NULL, clipnorm = NULL,
  clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE, ema_momentum = 0.99,
  ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "SGD")

optimizer_schedule_free_adam_w <- function(
  learning_rate = 0.0025, beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-08, warmup_steps = 0L,
  weight_decay = NULL, clipnorm = NULL, clipvalue = NULL, global_clipnorm = NULL, use_ema = FALSE,
  ema_momentum = 0.99, ema_overwrite_frequency = NULL, name = NULL, ..., loss_scale_factor = NULL,
  gradient_accumulation_steps = NULL
) new_object("optimizer", "ScheduleFreeAdamW")

learning_rate_schedule_cosine_decay <- function(
  initial_learning_rate, decay_steps, alpha = 0, name = "CosineDecay", warmup_target = NULL,
  warmup_steps = 0L
) new_object("schedule", "CosineDecay")

learning_rate_schedule_cosine_decay_restarts <- function(
  initial_learning_rate, first_decay_steps, t_mul = 2, m_mul = 1, alpha = 0, name = "SGDRDecay"
) new_object("schedule", "CosineDecayRestarts")

learning_rate_schedule_exponential_decay <- function(
  initial_learning_rate, decay_steps, decay_rate, staircase = FALSE, name = "ExponentialDecay"
) new_object("schedule", "ExponentialDecay")

learning_rate_schedule_inverse_time_decay <- function(
  initial_learning_rate, decay_steps, decay_rate, staircase = FALSE, name = "InverseTimeDecay"
) new_object("schedule", "InverseTimeDecay")

learning_rate_schedule_piecewise_constant_decay <- function(
  boundaries, values, name = "PiecewiseConstant"
) new_object("schedule", "PiecewiseConstantDecay")

learning_rate_schedule_polynomial_decay <- function(
  initial_learning_rate, decay_steps, end_learning_rate = 0.0001, power = 1, cycle = FALSE,
  name = "PolynomialDecay"
) new_object("schedule", "PolynomialDecay")
