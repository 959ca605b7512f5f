/* CuPy includes this name; device.h has what its kernels need of it. */
#pragma once
