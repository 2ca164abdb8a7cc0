#pragma once

#include "grouphead/context.h"
#include "grouphead/error.h"
#include "grouphead/group_query_attention.h"
#include "grouphead/kv_cache.h"
#include "grouphead/layer.h"
#include "grouphead/layers.h"
#include "grouphead/models.h"
#include "grouphead/random.h"
#include "grouphead/rope.h"
#include "grouphead/tensor.h"
#include "grouphead/training.h"
#include "grouphead/version.h"
