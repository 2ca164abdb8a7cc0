#pragma once

// The layers, one header per idea.

#include "grouphead/activation.h"
#include "grouphead/attention.h"
#include "grouphead/dense.h"
#include "grouphead/dropout.h"
#include "grouphead/einsum_dense.h"
#include "grouphead/embedding.h"
#include "grouphead/masking.h"
#include "grouphead/merging.h"
#include "grouphead/normalization.h"
#include "grouphead/pooling.h"
#include "grouphead/reshaping.h"
#include "grouphead/softmax.h"
