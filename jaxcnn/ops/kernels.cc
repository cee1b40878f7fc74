// Operations of native.py for XLA on CPUs: convolutions by oneDNN (its public C++
// interface), pooling and the sums of batch normalisation by loops of our own.
//
// A handler runs on XLA's own threads: it cuts the batch into as many parts as there
// are threads and computes each part in one of them, so that there is no second team
// of threads that fights for the cores. Inside a part oneDNN uses one thread, or those that
// are left over where the batch is smaller than their number.
//
// Images are [B, H, W, C], kernels [kh, kw, C / groups, filters], both dense. The
// numbers of a window come as one attribute, in the order of struct Window.

#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;
using Buffer = ffi::AnyBuffer;
using Result = ffi::Result<ffi::AnyBuffer>;
using Floats = ffi::Buffer<ffi::F32>;
using FloatResult = ffi::ResultBuffer<ffi::F32>;
using Numbers = ffi::Span<const int64_t>;
using dnnl::memory;

// ---- Threads.

// Calls task(0), ..., task(number - 1), in this thread and those of the pool.
//
// This thread takes tasks too, and waits only for tasks that another thread has begun,
// so handlers that wait in all threads of the pool cannot block each other.
template <class Task>
void parallel(ffi::ThreadPool& pool, int number, const Task& task) {
  struct Shared {
    std::atomic<int> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable all_done;
    std::exception_ptr failure;
  };
  auto shared = std::make_shared<Shared>();
  auto work = [shared, number, &task] {  // task is not used once all are done
    for (int i; (i = shared->next.fetch_add(1)) < number;) {
      try {
        task(i);
      } catch (...) {
        std::lock_guard<std::mutex> lock(shared->mutex);
        shared->failure = std::current_exception();
      }
      if (shared->done.fetch_add(1) + 1 == number) {
        std::lock_guard<std::mutex> lock(shared->mutex);
        shared->all_done.notify_all();
      }
    }
  };
  int helpers = std::min<int64_t>(number, pool.num_threads()) - 1;
  for (int i = 0; i < helpers; ++i) pool.Schedule(decltype(work)(work));
  work();
  for (int i = 0; i < 2000 && shared->done.load() < number; ++i) {
    __builtin_ia32_pause();  // the others are about to end
  }
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done.load() == number; });
  if (shared->failure) std::rethrow_exception(shared->failure);
}

// Threads that oneDNN uses in this thread, while this object lives.
class Threads {
 public:
  explicit Threads(int64_t number) : before_(omp_get_max_threads()) {
    omp_set_num_threads(number);
  }
  ~Threads() { omp_set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

// The part of [0, size) that is the i-th of a number of nearly equal ones.
struct Part {
  int64_t begin, end;
};
Part part(int64_t size, int64_t i, int64_t number) {
  return {size * i / number, size * (i + 1) / number};
}

template <class Body>
ffi::Error guarded(const Body& body) {
  try {
    body();
    return ffi::Error::Success();
  } catch (const dnnl::error& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

// ---- Memory that is used for one call and kept for the next.

constexpr size_t kPage = size_t{2} << 20;

size_t rounded(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

class Scratch {
 public:
  explicit Scratch(size_t size) {
    size = rounded(std::max<size_t>(size, 1), kPage);
    std::lock_guard<std::mutex> lock(mutex());
    auto found = free().lower_bound(size);
    if (found != free().end() && found->first <= 2 * size) {
      size_ = found->first, data_ = found->second;
      free().erase(found);
      return;
    }
    size_ = size, data_ = static_cast<char*>(std::aligned_alloc(kPage, size));
    if (data_ == nullptr) throw std::bad_alloc();
    madvise(data_, size, MADV_HUGEPAGE);
  }
  ~Scratch() {
    std::lock_guard<std::mutex> lock(mutex());
    free().emplace(size_, data_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  char* data() const { return data_; }

 private:
  // Never destroyed: threads of XLA may outlive static objects.
  static std::mutex& mutex() {
    static auto* mutex = new std::mutex;
    return *mutex;
  }
  static std::multimap<size_t, char*>& free() {
    static auto* free = new std::multimap<size_t, char*>;
    return *free;
  }
  size_t size_;
  char* data_;
};

// ---- Convolution.

const dnnl::engine& engine() {
  static auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::stream& stream() {
  static thread_local auto* stream = new dnnl::stream(engine());
  return *stream;
}

struct Window {
  int64_t stride[2], before[2], after[2], dilation[2], groups;
};

enum Kind : int64_t { kForward, kImage, kKernel };  // what is computed

struct Shapes {
  int64_t kind, type, batch, size[2], channels, window[2], windows[2], filters;
  Window at;
  int64_t threads;
};
static_assert(sizeof(Shapes) % sizeof(int64_t) == 0);

// A primitive and the layout in which it wants the kernel, or leaves its gradient.
struct Convolution {
  dnnl::primitive primitive;
  memory::desc image, output, kernel, ours;  // ours: of the kernel, as JAX has it
  size_t scratchpad;
};

memory::data_type type_of(int64_t type) {
  return type == static_cast<int64_t>(ffi::DataType::BF16) ? memory::data_type::bf16
                                                           : memory::data_type::f32;
}

// only_described: without the code, whose generation takes most of the time.
std::unique_ptr<Convolution> make_convolution(const Shapes& s,
                                              bool only_described = false) {
  using dnnl::convolution_backward_data;
  using dnnl::convolution_backward_weights;
  using dnnl::convolution_forward;
  using tag = memory::format_tag;
  auto made = std::make_unique<Convolution>();
  const auto type = type_of(s.type);
  const int64_t g = s.at.groups;
  const memory::dims stride{s.at.stride[0], s.at.stride[1]},
      before{s.at.before[0], s.at.before[1]}, after{s.at.after[0], s.at.after[1]},
      dilation{s.at.dilation[0] - 1, s.at.dilation[1] - 1};  // 0: none
  const memory::dims kernel =
      g == 1 ? memory::dims{s.filters, s.channels, s.window[0], s.window[1]}
             : memory::dims{g, s.filters / g, s.channels / g, s.window[0], s.window[1]};
  made->image = {{s.batch, s.channels, s.size[0], s.size[1]}, type, tag::nhwc};
  made->output = {{s.batch, s.filters, s.windows[0], s.windows[1]}, type, tag::nhwc};
  // Gradients of kernels are float32 whatever the images are, so that sums of parts lose
  // nothing. The forward description that oneDNN asks for has the type of the images.
  const auto wide = s.kind == kKernel ? memory::data_type::f32 : type;
  made->ours = {kernel, wide, g == 1 ? tag::hwio : tag::hwigo};
  const memory::desc any{kernel, type, tag::any}, gradient{kernel, wide, tag::any};
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const auto algorithm = dnnl::algorithm::convolution_direct;
  auto keep = [&](const auto& description, auto make, const memory::desc& layout) {
    if (!only_described) made->primitive = make(description);
    made->kernel = layout;
    made->scratchpad = description.scratchpad_desc().get_size();
  };
  const convolution_forward::primitive_desc forward(
      engine(), dnnl::prop_kind::forward_training, algorithm, made->image, any,
      made->output, stride, dilation, before, after, attributes);
  if (s.kind == kForward) {
    keep(forward, [](auto& d) { return convolution_forward(d); },
         forward.weights_desc());
  } else if (s.kind == kImage) {
    const convolution_backward_data::primitive_desc backward(
        engine(), algorithm, made->image, any, made->output, stride, dilation, before,
        after, forward, attributes);
    keep(backward, [](auto& d) { return convolution_backward_data(d); },
         backward.weights_desc());
  } else {
    const convolution_backward_weights::primitive_desc backward(
        engine(), algorithm, made->image, gradient, made->output, stride, dilation,
        before, after, forward, attributes);
    keep(backward, [](auto& d) { return convolution_backward_weights(d); },
         backward.diff_weights_desc());
  }
  return made;
}

// The convolution of these shapes, made at its first use. Primitives can be executed
// by several threads at once.
const Convolution& convolution(const Shapes& s) {
  static auto* mutex = new std::mutex;
  static auto* known = new std::unordered_map<std::string, std::unique_ptr<Convolution>>;
  const std::string key(reinterpret_cast<const char*>(&s), sizeof s);
  std::lock_guard<std::mutex> lock(*mutex);
  auto& found = (*known)[key];
  if (found == nullptr) {
    const Threads threads(s.threads);
    found = make_convolution(s);
  }
  return *found;
}

memory at(const memory::desc& layout, void* data) { return {layout, engine(), data}; }

// Brings a kernel from one layout into another, its filters shared among threads.
void reorder(ffi::ThreadPool& pool, const memory::desc& from, void* source,
             const memory::desc& to, void* target) {
  constexpr int64_t kBlock = 64;  // filters; a multiple of all blocks in layouts
  const auto dims = from.get_dims();
  auto move = [&](const memory::desc& old_layout, const memory::desc& new_layout) {
    const Threads one(1);
    auto old = at(old_layout, source), fresh = at(new_layout, target);
    dnnl::reorder(old, fresh).execute(stream(), old, fresh);
    stream().wait();
  };
  const int64_t blocks = dims.size() > 4 ? 1 : dims[0] / kBlock;
  const int64_t parts = std::min<int64_t>(blocks, pool.num_threads());
  std::vector<std::pair<memory::desc, memory::desc>> pieces;
  if (from.get_size() > (size_t{1} << 18)) {
    for (int64_t i = 0; i < parts; ++i) {
      const auto [begin, end] = part(blocks, i, parts);
      memory::dims size = dims, offset(dims.size(), 0);
      offset[0] = begin * kBlock;
      size[0] = (end == blocks ? dims[0] : end * kBlock) - offset[0];
      pieces.emplace_back(from.submemory_desc(size, offset, true),
                          to.submemory_desc(size, offset, true));
      if (pieces[i].first.get(true) == nullptr ||
          pieces[i].second.get(true) == nullptr) {
        pieces.clear();  // a layout that cannot be cut
        break;
      }
    }
  }
  if (pieces.empty()) return move(from, to);
  parallel(pool, parts, [&](int i) { move(pieces[i].first, pieces[i].second); });
}

int64_t bytes(const Buffer& x, int64_t examples) {
  return x.size_bytes() / x.dimensions()[0] * examples;
}

char* example(const Buffer& x, int64_t i) {
  return static_cast<char*>(x.untyped_data()) + bytes(x, i);
}

Shapes shapes_of(Kind kind, const Buffer& image, const Buffer& kernel,
                 const Buffer& output, Numbers numbers) {
  const auto x = image.dimensions(), k = kernel.dimensions(), y = output.dimensions();
  Shapes s{kind, static_cast<int64_t>(image.element_type()),
           x[0], {x[1], x[2]}, x[3], {k[0], k[1]}, {y[1], y[2]}, y[3], {}, 1};
  static_assert(sizeof(Window) == 9 * sizeof(int64_t));
  if (numbers.size() != 9) throw std::runtime_error("a window has nine numbers");
  std::copy(numbers.begin(), numbers.end(), reinterpret_cast<int64_t*>(&s.at));
  return s;
}

// Pixels of a part of a batch, which oneDNN sums one after the other: with 16 times as
// many a kernel's gradient was off by four times as much as plain JAX's.
constexpr int64_t kLongSum = 2048;

// Computes one of image, kernel and output from the two others.
ffi::Error convolve(ffi::ThreadPool pool, Kind kind, const Buffer& image,
                    const Buffer& kernel, const Buffer& output, Numbers numbers) {
  return guarded([&] {
    Shapes whole = shapes_of(kind, image, kernel, output, numbers);
    const int64_t threads = std::max<int64_t>(1, pool.num_threads());
    // oneDNN 3.2 gives wrong gradients of strided 1x1 kernels if it uses several threads
    // (jit_1x1:avx2, 5 channels, 3 filters), so it gets them only where that is not so.
    const bool one_pixel = whole.window[0] * whole.window[1] == 1;
    const bool strided = whole.at.stride[0] * whole.at.stride[1] > 1;
    const bool alone = kind == kKernel || (one_pixel && strided);
    std::vector<const Convolution*> convolutions;
    auto cut = [&](int64_t parts) {
      whole.threads = alone ? 1 : threads / parts;
      convolutions.clear();
      for (int64_t i = 0; i < parts; ++i) {
        Shapes s = whole;
        const auto [begin, end] = part(whole.batch, i, parts);
        s.batch = end - begin;
        convolutions.push_back(&convolution(s));
      }
      return std::all_of(convolutions.begin(), convolutions.end(), [&](auto* other) {
        return other->kernel == convolutions[0]->kernel;
      });
    };
    int64_t parts = threads;
    if (kind == kKernel) {
      const int64_t pixels = whole.batch * whole.windows[0] * whole.windows[1];
      parts *= std::max<int64_t>(1, pixels / (threads * kLongSum));
    }
    parts = std::min(parts, whole.batch);
    if (!cut(parts)) {  // parts of different size that want different layouts
      parts = 1;
      cut(parts);
    }
    size_t scratchpad = 0;
    for (auto* each : convolutions) {
      scratchpad = std::max(scratchpad, rounded(each->scratchpad, 4096));
    }
    const Convolution& first = *convolutions[0];
    const size_t kernel_size = rounded(first.kernel.get_size(), 4096);
    const bool same = first.kernel == first.ours;
    const int64_t copies = kind == kKernel ? parts : (same ? 0 : 1);
    Scratch scratch(copies * kernel_size + parts * scratchpad);
    char* kernels = scratch.data();
    char* pads = kernels + copies * kernel_size;
    if (kind != kKernel && !same) {
      reorder(pool, first.ours, kernel.untyped_data(), first.kernel, kernels);
    }
    parallel(pool, parts, [&](int i) {
      const Convolution& c = *convolutions[i];
      const Threads threads(whole.threads);
      const int64_t begin = part(whole.batch, i, parts).begin;
      auto x = at(c.image, example(image, begin));
      auto y = at(c.output, example(output, begin));
      char* own = kind == kKernel ? (parts == 1 && same
                                         ? static_cast<char*>(kernel.untyped_data())
                                         : kernels + i * kernel_size)
                  : same ? static_cast<char*>(kernel.untyped_data())
                         : kernels;
      auto k = at(c.kernel, own);
      const memory::desc pad({static_cast<int64_t>(std::max<size_t>(scratchpad, 1))},
                             memory::data_type::u8, memory::format_tag::x);
      const std::unordered_map<int, memory> arguments{
          {kind == kImage ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, x},
          {kind == kForward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, y},
          {kind == kKernel ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, k},
          {DNNL_ARG_SCRATCHPAD, at(pad, pads + i * scratchpad)}};
      c.primitive.execute(stream(), arguments);
      stream().wait();
    });
    if (kind != kKernel || (parts == 1 && same)) return;
    // The sum of the parts' gradients, in the order of the parts.
    if (parts > 1) {
      const int64_t size = first.kernel.get_size() / sizeof(float);
      auto* total = reinterpret_cast<float*>(kernels);
      parallel(pool, threads, [&](int t) {
        const auto [begin, end] = part(size, t, threads);
        for (int64_t i = 1; i < parts; ++i) {
          const auto* other = reinterpret_cast<float*>(kernels + i * kernel_size);
          for (int64_t j = begin; j < end; ++j) total[j] += other[j];
        }
      });
    }
    reorder(pool, first.kernel, kernels, first.ours, kernel.untyped_data());
  });
}

ffi::Error conv_forward(ffi::ThreadPool pool, Buffer x, Buffer kernel, Result y,
                        Numbers window) {
  return convolve(pool, kForward, x, kernel, *y, window);
}

ffi::Error conv_image(ffi::ThreadPool pool, Buffer dy, Buffer kernel, Result dx,
                      Numbers window) {
  return convolve(pool, kImage, *dx, kernel, dy, window);
}

ffi::Error conv_kernel(ffi::ThreadPool pool, Buffer x, Buffer dy, Result dkernel,
                       Numbers window) {
  return convolve(pool, kKernel, x, *dkernel, dy, window);
}

// ---- Max-pooling. numbers: window, stride, padding before; each of rows and columns.

constexpr int64_t kLanes = 16;  // channels at once, a cache line of floats

// Calls body(first channel, number of channels) for all channels, kLanes at once, and the
// rest in powers of two; the number is a constant for the compiler.
template <int64_t kNumber = kLanes, class Body>
void over_channels(int64_t channels, const Body& body, int64_t first = 0) {
  for (; first + kNumber <= channels; first += kNumber) {
    body(first, std::integral_constant<int64_t, kNumber>());
  }
  if constexpr (kNumber > 1) over_channels<kNumber / 2>(channels, body, first);
}

// Lanes in one register: g++ made far slower code of loops over arrays of lanes.
template <int64_t kNumber>
using Floating [[gnu::vector_size(4 * kNumber)]] = float;
template <int64_t kNumber>
using Integral [[gnu::vector_size(4 * kNumber)]] = int32_t;
template <int64_t kNumber>
using Small [[gnu::vector_size(kNumber)]] = uint8_t;

template <class Vector, class Element>
Vector loaded(const Element* source) {
  Vector vector;
  std::memcpy(&vector, source, sizeof vector);
  return vector;
}

template <class Vector, class Element>
void store(Element* target, const Vector& vector) {
  std::memcpy(target, &vector, sizeof vector);
}

struct Pool {
  int64_t window[2], stride[2], before[2];
};

Pool pool_of(Numbers numbers) {
  Pool p;
  if (numbers.size() != 6) throw std::runtime_error("pooling has six numbers");
  std::copy(numbers.begin(), numbers.end(), reinterpret_cast<int64_t*>(&p));
  return p;
}

// Sizes of images and of their maps of windows.
struct Maps {
  int64_t height, width, rows, columns, channels;
};

// The largest pixel of each window, and which of the window's pixels it is: the first
// by rows, or the last that is NaN. Of the rows of windows begin, ..., end - 1.
void largest_of_windows(const float* __restrict x, float* __restrict y,
                        uint8_t* __restrict place, const Maps m, const Pool p,
                        const Part rows) {
  for (int64_t line = rows.begin; line < rows.end; ++line) {
    const int64_t n = line / m.rows, top = line % m.rows * p.stride[0] - p.before[0];
    const int64_t r0 = std::max<int64_t>(0, -top),
                  r1 = std::min(p.window[0], m.height - top);
    for (int64_t column = 0; column < m.columns; ++column) {
      const int64_t left = column * p.stride[1] - p.before[1];
      const int64_t c0 = std::max<int64_t>(0, -left),
                    c1 = std::min(p.window[1], m.width - left);
      const int64_t target = (line * m.columns + column) * m.channels;
      over_channels<8>(m.channels, [&](int64_t first, auto lanes) {
        using Vector = Floating<lanes>;
        Vector largest = Vector{} - std::numeric_limits<float>::infinity();
        auto where = Integral<lanes>{} + static_cast<int32_t>(r0 * p.window[1] + c0);
        for (int64_t r = r0; r < r1; ++r) {
          for (int64_t c = c0; c < c1; ++c) {
            const auto pixel = loaded<Vector>(
                x + ((n * m.height + top + r) * m.width + left + c) * m.channels + first);
            const auto here = Integral<lanes>{} + static_cast<int32_t>(r * p.window[1] + c);
            const auto take = (pixel > largest) | (pixel != pixel);
            largest = take ? pixel : largest;
            where = take ? here : where;
          }
        }
        store(y + target + first, largest);
        store(place + target + first, __builtin_convertvector(where, Small<lanes>));
      });
    }
  }
}

ffi::Error max_pool_forward(ffi::ThreadPool pool, Floats x, FloatResult y,
                            ffi::ResultBuffer<ffi::U8> place, Numbers numbers) {
  return guarded([&] {
    const Pool p = pool_of(numbers);
    const auto in = x.dimensions(), out = y->dimensions();
    const Maps maps{in[1], in[2], out[1], out[2], in[3]};
    const int64_t lines = out[0] * out[1];
    const int64_t parts = std::min<int64_t>(lines, 4 * pool.num_threads());
    parallel(pool, parts, [&](int i) {
      largest_of_windows(x.typed_data(), y->typed_data(), place->typed_data(), maps, p,
                         part(lines, i, parts));
    });
  });
}

// Each pixel collects the gradients of the windows in which it is the largest. Of the
// rows of pixels begin, ..., end - 1.
void gradient_of_largest(const float* __restrict dy, const uint8_t* __restrict place,
                         float* __restrict dx, const Maps m, const Pool p,
                         const Part rows) {
  // The windows that see a pixel: first and one past the last.
  auto seen = [&](int64_t pixel, int axis, int64_t number) {
    const int64_t at = pixel + p.before[axis], s = p.stride[axis];
    const int64_t first = at < p.window[axis] ? 0 : (at - p.window[axis]) / s + 1;
    return Part{first, std::min(number, at / s + 1)};
  };
  std::vector<Part> by_column;
  for (int64_t column = 0; column < m.width; ++column) {
    by_column.push_back(seen(column, 1, m.columns));
  }
  for (int64_t line = rows.begin; line < rows.end; ++line) {
    const int64_t n = line / m.height, row = line % m.height;
    const Part above = seen(row, 0, m.rows);
    for (int64_t column = 0; column < m.width; ++column) {
      const Part beside = by_column[column];
      const int64_t target = (line * m.width + column) * m.channels;
      over_channels<8>(m.channels, [&](int64_t first, auto lanes) {
        using Vector = Floating<lanes>;
        Vector total{};
        for (int64_t r = above.begin; r < above.end; ++r) {
          for (int64_t c = beside.begin; c < beside.end; ++c) {
            const auto here = Integral<lanes>{} +
                              static_cast<int32_t>(
                                  (row + p.before[0] - r * p.stride[0]) * p.window[1] +
                                  column + p.before[1] - c * p.stride[1]);
            const int64_t source = ((n * m.rows + r) * m.columns + c) * m.channels + first;
            const auto largest = __builtin_convertvector(
                loaded<Small<lanes>>(place + source), Integral<lanes>);
            total += largest == here ? loaded<Vector>(dy + source) : Vector{};
          }
        }
        store(dx + target + first, total);
      });
    }
  }
}

ffi::Error max_pool_backward(ffi::ThreadPool pool, Floats dy, ffi::Buffer<ffi::U8> place,
                             FloatResult dx, Numbers numbers) {
  return guarded([&] {
    const Pool p = pool_of(numbers);
    const auto in = dx->dimensions(), out = dy.dimensions();
    const Maps maps{in[1], in[2], out[1], out[2], in[3]};
    const int64_t lines = in[0] * in[1];
    const int64_t parts = std::min<int64_t>(lines, 4 * pool.num_threads());
    parallel(pool, parts, [&](int i) {
      gradient_of_largest(dy.typed_data(), place.typed_data(), dx->typed_data(), maps, p,
                          part(lines, i, parts));
    });
  });
}

// ---- Sums over all pixels of a channel, for batch normalisation.

constexpr int64_t kRows = 256;  // pixels whose sum is kept in float

// Two sums a channel of rows of x [M, C]: term(row, channel) -> two numbers. Sums of
// kRows pixels are float, those of all double; the number of threads changes nothing.
template <class Term>
void channel_sums(ffi::ThreadPool& pool, int64_t pixels, int64_t channels,
                  std::vector<double>& first, std::vector<double>& second,
                  const Term& term) {
  const int64_t blocks = (pixels + kRows - 1) / kRows;
  std::vector<float> partial(2 * blocks * channels);
  const int64_t parts = std::min<int64_t>(blocks, 4 * pool.num_threads());
  parallel(pool, parts, [&](int i) {
    const auto [begin, end] = part(blocks, i, parts);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t last = std::min(pixels, (block + 1) * kRows);
      float* sums = partial.data() + 2 * block * channels;
      over_channels(channels, [&](int64_t channel, auto lanes) {
        float a[kLanes] = {}, b[kLanes] = {};
        for (int64_t row = block * kRows; row < last; ++row) {
          for (int64_t l = 0; l < lanes; ++l) {
            const auto [one, other] = term(row * channels, channel + l);
            a[l] += one, b[l] += other;
          }
        }
        for (int64_t l = 0; l < lanes; ++l) {
          sums[channel + l] = a[l], sums[channels + channel + l] = b[l];
        }
      });
    }
  });
  first.assign(channels, 0), second.assign(channels, 0);
  for (int64_t block = 0; block < blocks; ++block) {
    const float* sums = partial.data() + 2 * block * channels;
    for (int64_t c = 0; c < channels; ++c) {
      first[c] += sums[c], second[c] += sums[channels + c];
    }
  }
}

struct Two {
  float first, second;
};

// Mean and biased variance of each channel. Sums are of differences from the first
// pixel, since a variance that is small beside the mean has no digits in plain squares.
ffi::Error moments(ffi::ThreadPool pool, Floats x,
                   FloatResult mean, FloatResult var) {
  return guarded([&] {
    const int64_t channels = x.dimensions().back();
    const int64_t pixels = x.element_count() / channels;
    const float* data = x.typed_data();
    std::vector<double> sum, square;
    channel_sums(pool, pixels, channels, sum, square, [&](int64_t row, int64_t c) {
      const float away = data[row + c] - data[c];
      return Two{away, away * away};
    });
    for (int64_t c = 0; c < channels; ++c) {
      const double away = sum[c] / pixels;
      mean->typed_data()[c] = data[c] + away;
      // NaN stays NaN, which std::max(0., NaN) would hide.
      const double variance = square[c] / pixels - away * away;
      var->typed_data()[c] = variance < 0 ? 0 : variance;
    }
  });
}

// Gradients of x, scale and bias, see norm_gradient in portable.py.
ffi::Error norm_gradient(ffi::ThreadPool pool, Floats dy, Floats x, Floats scale,
                         Floats mean, Floats var, Floats dmean, Floats dvar,
                         FloatResult dx, FloatResult dscale, FloatResult dbias,
                         float epsilon) {
  return guarded([&] {
    const int64_t channels = x.dimensions().back();
    const int64_t pixels = x.element_count() / channels;
    const float *gradient = dy.typed_data(), *data = x.typed_data(),
                *centre = mean.typed_data();
    std::vector<double> sum, product;
    channel_sums(pool, pixels, channels, sum, product, [&](int64_t row, int64_t c) {
      const float d = gradient[row + c];
      return Two{d, d * (data[row + c] - centre[c])};
    });
    std::vector<float> factors(channels), slopes(channels), constants(channels);
    for (int64_t c = 0; c < channels; ++c) {
      const double inverse = 1 / std::sqrt(var.typed_data()[c] + double{epsilon});
      const double factor = scale.typed_data()[c] * inverse;
      dscale->typed_data()[c] = product[c] * inverse;
      dbias->typed_data()[c] = sum[c];
      factors[c] = factor;
      constants[c] = (dmean.typed_data()[c] - factor * sum[c]) / pixels;
      slopes[c] =
          (2 * dvar.typed_data()[c] - factor * inverse * inverse * product[c]) / pixels;
    }
    const int64_t blocks = (pixels + kRows - 1) / kRows;
    const int64_t parts = std::min<int64_t>(blocks, 4 * pool.num_threads());
    float* target = dx->typed_data();
    parallel(pool, parts, [&](int i) {
      const auto [begin, end] = part(blocks, i, parts);
      for (int64_t block = begin; block < end; ++block) {
        const int64_t last = std::min(pixels, (block + 1) * kRows);
        over_channels(channels, [&](int64_t first, auto lanes) {
          float by_dy[kLanes], by_x[kLanes], fixed[kLanes], middle[kLanes];
          for (int64_t l = 0; l < lanes; ++l) {
            by_dy[l] = factors[first + l], by_x[l] = slopes[first + l];
            fixed[l] = constants[first + l], middle[l] = centre[first + l];
          }
          for (int64_t row = block * kRows; row < last; ++row) {
            const int64_t at = row * channels + first;
            for (int64_t l = 0; l < lanes; ++l) {
              const float away = data[at + l] - middle[l];
              target[at + l] = gradient[at + l] * by_dy[l] + away * by_x[l] + fixed[l];
            }
          }
        });
      }
    });
  });
}

}  // namespace

// Whether oneDNN has a convolution of these shapes on this processor, all three kinds.
// numbers: type, B, H, W, C, kh, kw, H', W', filters, and the nine of a window.
extern "C" int jaxcnn_has_convolution(const int64_t* numbers) {
  try {
    for (int64_t kind : {kForward, kImage, kKernel}) {
      Shapes s{};
      s.kind = kind;
      std::copy(numbers, numbers + 19, &s.type);
      make_convolution(s, true);
    }
    return 1;
  } catch (const dnnl::error&) {
    return 0;
  }
}

extern "C" const char* jaxcnn_onednn_version() {
  static const std::string text = std::to_string(dnnl_version()->major) + "." +
                                  std::to_string(dnnl_version()->minor) + "." +
                                  std::to_string(dnnl_version()->patch);
  return text.c_str();
}

#define HANDLER(name) \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcnn_##name, name, ffi::Ffi::Bind().Ctx<ffi::ThreadPool>()
HANDLER(conv_forward)
    .Arg<Buffer>().Arg<Buffer>().Ret<Buffer>().Attr<Numbers>("window"));
HANDLER(conv_image)
    .Arg<Buffer>().Arg<Buffer>().Ret<Buffer>().Attr<Numbers>("window"));
HANDLER(conv_kernel)
    .Arg<Buffer>().Arg<Buffer>().Ret<Buffer>().Attr<Numbers>("window"));
HANDLER(max_pool_forward)
    .Arg<Floats>().Ret<Floats>()
    .Ret<ffi::Buffer<ffi::U8>>().Attr<Numbers>("window"));
HANDLER(max_pool_backward)
    .Arg<Floats>().Arg<ffi::Buffer<ffi::U8>>()
    .Ret<Floats>().Attr<Numbers>("window"));
HANDLER(moments)
    .Arg<Floats>().Ret<Floats>()
    .Ret<Floats>());
HANDLER(norm_gradient)
    .Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>().Arg<Floats>()
    .Arg<Floats>().Arg<Floats>().Ret<Floats>().Ret<Floats>().Ret<Floats>()
    .Attr<float>("epsilon"));
