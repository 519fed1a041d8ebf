// See interface.h; setup.py gives this file its instruction set.
#include "interface.h"
