#pragma once

// The layers around attention, one header per idea.

#include "grouphead/dense.h"
#include "grouphead/dropout.h"
#include "grouphead/embedding.h"
#include "grouphead/normalization.h"
