"""Counter-based random numbers with the same bits on every machine.

A random number is a function of (key, counter): no state, no order of calls. Everything
is integer arithmetic or plain IEEE operations in a fixed order (`log` and `exp` too,
because the last bit of a C library's differs between builds), so a schedule depends on
its inputs alone. The functions run inside Numba kernels and from Python; from Python
pass the key as `np.uint64`.
"""

import hashlib

import numpy as np

from asgrad_jax._util.checks import check_seed
from asgrad_jax._util.jit import njit

# One tag per purpose keeps the streams of one seed apart.
DURATION_STREAM = 1
ORDER_STREAM = 2
SAMPLER_STREAM = 3
ALGORITHM_STREAM = 4

# The odd increment of SplitMix64 (2^64 over the golden ratio) and the constants of
# Stafford's variant 13 of the MurmurHash3 finalizer.
_INCREMENT = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLY_2 = np.uint64(0x94D049BB133111EB)
_ONE = np.uint64(1)
_11, _27, _30, _31, _32 = map(np.uint64, (11, 27, 30, 31, 32))
_LOW_32 = np.uint64(0xFFFFFFFF)

_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_FRACTION_BITS = np.int64(0x000FFFFFFFFFFFFF)
_EXPONENT_OF_ONE = np.int64(0x3FF0000000000000)


def stream_key(seed: int, tag: int) -> np.uint64:
    """Returns the 64-bit key of one stream of a seed, for the functions below.

    Args:
        seed: non-negative integer; one of 64 bits or more is hashed (SHA-256) first.
        tag: what the stream is for, one of the `*_STREAM` constants.

    Example:
        >>> key = stream_key(0, ORDER_STREAM)
        >>> 0 <= uniform_int(key, 7, 10) < 10
        True
    """
    number = check_seed(seed)
    if number.bit_length() > 63:
        digest = hashlib.sha256(str(number).encode()).digest()
        number = int.from_bytes(digest[:8], "little")
    return np.uint64(bits(np.uint64(number), tag))


@njit
def bits(key, counter):
    """Returns number `counter` (int, >= 0) of stream `key` (uint64): 64 random bits.

    SplitMix64 entered at an arbitrary place: mix13(key + (counter + 1) * increment).
    The result is a fine key for a stream of its own: worker, then job, then draw.
    """
    z = key + (np.uint64(counter) + _ONE) * _INCREMENT
    z = (z ^ (z >> _30)) * _MULTIPLY_1
    z = (z ^ (z >> _27)) * _MULTIPLY_2
    return z ^ (z >> _31)


@njit
def uniform(key, counter):
    """Returns number `counter` of stream `key` as a float64 in (0, 1), 53 bits."""
    # Zero becomes half of the smallest step: log and quantiles need an open interval.
    return max(np.float64(bits(key, counter) >> _11), 0.5) * 2.0**-53


@njit
def uniform_int(key, counter, n):
    """Returns number `counter` of stream `key` as an int in 0..n-1, for n < 2^32.

    The upper half of the 128-bit product of 64 random bits with n (multiply-high):
    no division, and a bias below n / 2^64.
    """
    z = bits(key, counter)
    m = np.uint64(n)
    carry = ((z & _LOW_32) * m) >> _32
    return np.int64(((z >> _32) * m + carry) >> _32)


@njit
def log(x):
    """Returns the natural logarithm of a positive, normal, finite float64.

    x = 2^k (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) by the odd series in
    s = f / (2 + f). The scheme and the coefficients are those of fdlibm's e_log.c
    (Sun Microsystems), error below one unit in the last place.
    """
    pattern = np.float64(x).view(np.int64)
    k = (pattern >> 52) - 1023
    m = np.int64((pattern & _FRACTION_BITS) | _EXPONENT_OF_ONE).view(np.float64)
    if m > 1.4142135623730951:
        m *= 0.5
        k += 1
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (
        3.999999999940941908e-01
        + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01)
    )
    odd = z * (
        6.666666666666735130e-01
        + w
        * (
            2.857142874366239149e-01
            + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)
        )
    )
    half_square = 0.5 * f * f
    tail = s * (half_square + even + odd) + k * _LN2_LOW
    return k * _LN2_HIGH - ((half_square - tail) - f)


@njit
def exp(x):
    """Returns e^x for a float64, with 0 and inf where the result leaves the range.

    x = k log 2 + r with |r| <= log(2) / 2, and a rational approximation on r. Scheme
    and coefficients of fdlibm's e_exp.c (Sun Microsystems), error below one unit in the
    last place.
    """
    if x > 709.782712893384:
        return np.inf
    if x < -745.2:
        return 0.0
    k = np.int64(np.floor(x * 1.4426950408889634 + 0.5))
    high = x - k * _LN2_HIGH
    low = k * _LN2_LOW
    r = high - low
    t = r * r
    c = r - t * (
        1.66666666666666019037e-01
        + t
        * (
            -2.77777777770155933842e-03
            + t
            * (
                6.61375632143793436117e-05
                + t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08)
            )
        )
    )
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    # Two factors, since 2^k alone may be out of range where the result is not.
    half = k >> 1
    return y * _power_of_two(half) * _power_of_two(k - half)


@njit
def _power_of_two(k):
    return np.int64((k + 1023) << 52).view(np.float64)


@njit
def normal_quantile(u):
    """Returns the standard normal quantile of a float64 in (0, 1).

    Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37 (1988): rational
    approximations of relative accuracy about 1e-16.
    """
    q = u - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * _ratio(r, _CENTRE_TOP, _CENTRE_BOTTOM)
    r = np.sqrt(-log(min(u, 1.0 - u)))
    if r <= 5.0:
        x = _ratio(r - 1.6, _MIDDLE_TOP, _MIDDLE_BOTTOM)
    else:
        x = _ratio(r - 5.0, _TAIL_TOP, _TAIL_BOTTOM)
    return -x if q < 0.0 else x


@njit
def _ratio(r, top, bottom):
    # Horner's rule, highest power first; the tuples are constants to the compiler.
    numerator = 0.0
    denominator = 0.0
    for i in range(8):
        numerator = numerator * r + top[i]
        denominator = denominator * r + bottom[i]
    return numerator / denominator


_CENTRE_TOP = (
    2.5090809287301226727e3,
    3.3430575583588128105e4,
    6.7265770927008700853e4,
    4.5921953931549871457e4,
    1.3731693765509461125e4,
    1.9715909503065514427e3,
    1.3314166789178437745e2,
    3.3871328727963666080e0,
)
_CENTRE_BOTTOM = (
    5.2264952788528545610e3,
    2.8729085735721942674e4,
    3.9307895800092710610e4,
    2.1213794301586595867e4,
    5.3941960214247511077e3,
    6.8718700749205790830e2,
    4.2313330701600911252e1,
    1.0,
)
_MIDDLE_TOP = (
    7.74545014278341407640e-4,
    2.27238449892691845833e-2,
    2.41780725177450611770e-1,
    1.27045825245236838258e0,
    3.64784832476320460504e0,
    5.76949722146069140550e0,
    4.63033784615654529590e0,
    1.42343711074968357734e0,
)
_MIDDLE_BOTTOM = (
    1.05075007164441684324e-9,
    5.47593808499534494600e-4,
    1.51986665636164571966e-2,
    1.48103976427480074590e-1,
    6.89767334985100004550e-1,
    1.67638483018380384940e0,
    2.05319162663775882187e0,
    1.0,
)
_TAIL_TOP = (
    2.01033439929228813265e-7,
    2.71155556874348757815e-5,
    1.24266094738807843860e-3,
    2.65321895265761230930e-2,
    2.96560571828504891230e-1,
    1.78482653991729133580e0,
    5.46378491116411436990e0,
    6.65790464350110377720e0,
)
_TAIL_BOTTOM = (
    2.04426310338993978564e-15,
    1.42151175831644588870e-7,
    1.84631831751005468180e-5,
    7.86869131145613259100e-4,
    1.48753612908506148525e-2,
    1.36929880922735805310e-1,
    5.99832206555887937690e-1,
    1.0,
)
