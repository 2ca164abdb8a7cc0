#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "grouphead/core/config_value.h"
#include "grouphead/core/tensor.h"

#pragma GCC visibility push(default)
namespace grouphead {

// Seeds are std::uint64_t, and std::optional of it where none may be given. Those that Keras has,
// of layers' own generators and of initializers, are below 2^32.

/// Where one random draw happens: a counter-based generator is a pure function of this key and the
/// element's index, so neither threads nor tiles change its numbers.
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t draw = 0;
};

/// Hands out one RandomKey per draw. Its whole state is two numbers, so a checkpoint can hold it.
class RandomStream {
 public:
  explicit RandomStream(std::uint64_t seed, std::uint64_t next_draw = 0) noexcept
      : seed_(seed), next_draw_(next_draw) {}
  RandomKey next() noexcept { return {seed_, next_draw_++}; }
  std::uint64_t seed() const noexcept { return seed_; }
  std::uint64_t next_draw() const noexcept { return next_draw_; }

 private:
  std::uint64_t seed_;
  std::uint64_t next_draw_;
};

/// Which counter-based generator the bits of a draw come from.
enum class RandomAlgorithm : int {
  philox,   ///< Philox4x32-10: the fast choice
  threefry  ///< Threefry-2x32 as JAX uses it: the bits of Keras on JAX
};

/// Keras's seed generator: its state is the pair (seed, draws so far), and draw k has the Threefry
/// key (seed, k). Layers that drop own one. Threads: safe; draws are numbered in the order of the
/// calls. Source: keras.random.SeedGenerator.
class SeedGenerator {
 public:
  /// Errors: ConfigError unless seed < 2^32.
  explicit SeedGenerator(std::uint64_t seed, std::string name = "seed_generator");
  RandomKey next() noexcept { return {seed_, next_draw_.fetch_add(1)}; }
  std::uint64_t seed() const noexcept { return seed_; }
  std::uint32_t next_draw() const noexcept { return next_draw_.load(); }
  void set_next_draw(std::uint32_t draw) noexcept { next_draw_.store(draw); }

  /// Keras's configuration, seed and name. As in Keras, the draws so far are not part of it.
  ConfigValue get_config() const;

 private:
  std::uint64_t seed_;
  std::string name_;
  std::atomic<std::uint32_t> next_draw_{0};
};

/// The seed of an initializer: none, an integer, or a generator that others may share.
class Seed {
 public:
  Seed() = default;  ///< none: each draw takes a key of the model's stream
  /// Every draw gives the same numbers. Errors: ConfigError unless 0 <= seed < 2^32.
  template <std::integral Integer>
  Seed(Integer seed) {  // NOLINT(google-explicit-constructor)
    set(static_cast<Index>(seed));
  }
  /// Each draw takes the generator's next key.
  Seed(std::shared_ptr<SeedGenerator> generator);  // NOLINT(google-explicit-constructor)
  /// From an integer, null, or Keras's envelope of a SeedGenerator. Errors: ConfigError.
  static Seed from_config(const ConfigValue& config);

  /// What from_config() takes.
  ConfigValue config() const;
  /// The Threefry key of the next draw.
  RandomKey next(RandomStream& random) const;

 private:
  void set(Index seed);

  std::optional<std::uint64_t> seed_;
  std::shared_ptr<SeedGenerator> generator_;
  ConfigValue config_;
};

/// One draw of a layer that drops: which generator, and its key.
struct RandomDraw {
  RandomAlgorithm algorithm = RandomAlgorithm::philox;
  RandomKey key{};
};

/// Threefry-2x32, 20 rounds: 32 random bits for element `index` under (seed, draw), JAX's
/// partitionable form: the two words of the output, of counter (index >> 32, index), XORed.
/// Source: Salmon et al. 2011.
std::uint32_t threefry2x32(RandomKey key, std::uint64_t index) noexcept;

/// Philox4x32-10: four uniform 32-bit words for counter `block` under `key`.
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
struct PhiloxBlock {
  std::uint32_t words[4];
};
PhiloxBlock philox4x32(RandomKey key, std::uint64_t block) noexcept;

/// Standard normal numbers by Box and Muller's rule from Philox words.
Tensor random_normal(const Shape& shape, std::uint64_t seed);

}  // namespace grouphead
#pragma GCC visibility pop
