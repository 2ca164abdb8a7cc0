#pragma once

// The layers, one header per idea.

#include "grouphead/layers/activation.h"
#include "grouphead/layers/attention.h"
#include "grouphead/layers/convolution.h"
#include "grouphead/layers/dense.h"
#include "grouphead/layers/dropout.h"
#include "grouphead/layers/einsum_dense.h"
#include "grouphead/layers/embedding.h"
#include "grouphead/layers/lookup.h"
#include "grouphead/layers/masking.h"
#include "grouphead/layers/merging.h"
#include "grouphead/layers/normalization.h"
#include "grouphead/layers/pooling.h"
#include "grouphead/layers/preprocessing.h"
#include "grouphead/layers/recurrent.h"
#include "grouphead/layers/reshaping.h"
#include "grouphead/layers/resizing.h"
#include "grouphead/layers/softmax.h"
#include "grouphead/layers/sub_layers.h"
#include "grouphead/layers/windows.h"
#include "grouphead/layers/wrappers.h"
