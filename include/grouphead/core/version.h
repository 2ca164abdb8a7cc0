#pragma once

#define GROUPHEAD_VERSION "0.1.0"
