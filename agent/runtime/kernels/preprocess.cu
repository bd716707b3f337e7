// contract.preprocess on a GPU: luma, a triangle filter in two passes, then scale and shift. One thread makes one element.
//
// The arithmetic is Pillow's own fixed point (libImaging Convert.c and Resample.c), so every byte equals Pillow's. The filter's
// integers come from the host (agent/runtime/triangle_filter.py). Tests also compile this file as plain C++ and run it.

static const int PRECISION_BITS = 22;  // Resample.c: 32 - 8 - 2, which leaves room for the sum of 8-bit products

static __device__ __forceinline__ unsigned char clip8(int sum) {
    int value = sum >> PRECISION_BITS;
    return (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static __device__ __forceinline__ long long element() {
    return (long long)blockIdx.x * blockDim.x + threadIdx.x;
}

// rgb u8[count, 3] -> grey u8[count]: ITU-R 601 as in Convert.c, L24(rgb) >> 16.
extern "C" __global__ void luma(const unsigned char* rgb, unsigned char* grey, int count) {
    long long i = element();
    if (i >= count) return;
    const unsigned char* p = rgb + 3 * i;
    grey[i] = (unsigned char)((p[0] * 19595 + p[1] * 38470 + p[2] * 7471 + 0x8000) >> 16);
}

// source u8[height, in_width, channels] -> target u8[height, out_width, channels].
// starts, counts i32[out_width]; weights i32[out_width, taps].
extern "C" __global__ void resize_across(const unsigned char* source, unsigned char* target, int height, int in_width,
                                         int out_width, int channels, const int* starts, const int* counts,
                                         const int* weights, int taps) {
    long long i = element();
    if (i >= (long long)height * out_width * channels) return;
    int channel = (int)(i % channels);
    int x = (int)(i / channels % out_width);
    long long y = i / channels / out_width;
    const unsigned char* p = source + (y * in_width + starts[x]) * channels + channel;
    const int* weight = weights + (long long)x * taps;
    int sum = 1 << (PRECISION_BITS - 1);
    for (int tap = 0; tap < counts[x]; ++tap) sum += p[(long long)tap * channels] * weight[tap];
    target[i] = clip8(sum);
}

// source u8[in_height, row] -> target u8[out_height, row], where row = width * channels.
// starts, counts i32[out_height]; weights i32[out_height, taps].
extern "C" __global__ void resize_down(const unsigned char* source, unsigned char* target, int out_height, int row,
                                       const int* starts, const int* counts, const int* weights, int taps) {
    long long i = element();
    if (i >= (long long)out_height * row) return;
    int y = (int)(i / row);
    const unsigned char* p = source + (long long)starts[y] * row + i % row;
    const int* weight = weights + (long long)y * taps;
    int sum = 1 << (PRECISION_BITS - 1);
    for (int tap = 0; tap < counts[y]; ++tap) sum += p[(long long)tap * row] * weight[tap];
    target[i] = clip8(sum);
}

// The byte that belongs at `i` of a tensor [channels, plane] (planar) or [plane, channels]; a grey source serves every channel.
static __device__ __forceinline__ unsigned char pick(const unsigned char* small, long long i, int plane, int from_channels,
                                                     int channels, int planar, int* channel) {
    *channel = planar ? (int)(i / plane) : (int)(i % channels);
    long long pixel = planar ? i % plane : i / channels;
    return small[pixel * from_channels + (from_channels == 1 ? 0 : *channel)];
}

// small u8[plane, from_channels] -> tensor f32: value * scale - shift, each step rounded by itself, as numpy does it.
extern "C" __global__ void to_float(const unsigned char* small, float* tensor, int plane, int from_channels, int channels,
                                    int planar, const float* scale, const float* shift) {
    long long i = element();
    if (i >= (long long)plane * channels) return;
    int channel;
    float value = (float)pick(small, i, plane, from_channels, channels, planar, &channel);
    tensor[i] = __fsub_rn(__fmul_rn(value, scale[channel]), shift[channel]);
}

// small u8[plane, from_channels] -> tensor u8.
extern "C" __global__ void to_bytes(const unsigned char* small, unsigned char* tensor, int plane, int from_channels,
                                    int channels, int planar) {
    long long i = element();
    if (i >= (long long)plane * channels) return;
    int channel;
    tensor[i] = pick(small, i, plane, from_channels, channels, planar, &channel);
}
