// Keras's seeds.

#include "core/seed.h"

#include "core/check.h"

namespace grouphead {

std::uint64_t core::checked_seed(Index seed) {
  if (seed < 0 || seed >= Index{1} << 32) {
    core::throw_config_error("seed", "seed", "0 <= seed < 2^32", std::to_string(seed));
  }
  return static_cast<std::uint64_t>(seed);
}

void core::require_seed(const std::optional<std::uint64_t>& seed) {
  if (seed) checked_seed(static_cast<Index>(*seed));
}

std::uint64_t core::draw_seed(RandomStream& random) noexcept {
  return philox4x32(random.next(), 0).words[0];
}

SeedGenerator::SeedGenerator(std::uint64_t seed, std::string name)
    : seed_(core::checked_seed(static_cast<Index>(seed))), name_(std::move(name)) {}

ConfigValue SeedGenerator::get_config() const {
  return ConfigValue::Object{{"seed", static_cast<Index>(seed_)}, {"name", name_}};
}

void Seed::set(Index seed) {
  seed_ = core::checked_seed(seed);
  config_ = seed;
}

Seed::Seed(std::shared_ptr<SeedGenerator> generator)
    : generator_(std::move(generator)),
      config_(config_envelope("keras.random", "SeedGenerator", generator_->get_config())) {}

Seed Seed::from_config(const ConfigValue& config) {
  if (config.is_null()) return {};
  if (!config.is_object()) return config.as_integer("seed");
  if (config["class_name"] != ConfigValue("SeedGenerator")) {
    core::throw_config_error("seed", "class_name", "SeedGenerator",
                             config["class_name"].to_string());
  }
  Seed seed;
  // One without a seed begins anywhere: its draws are those of no seed.
  const ConfigValue& own = config["config"];
  if (!own["seed"].is_null()) {
    const std::string name =
        own["name"].is_null() ? "seed_generator" : own["name"].as_string("name");
    seed =
        std::make_shared<SeedGenerator>(core::checked_seed(own["seed"].as_integer("seed")), name);
  }
  seed.config_ = config;
  return seed;
}

ConfigValue Seed::config() const { return config_; }

RandomKey Seed::next(RandomStream& random) const {
  if (generator_) return generator_->next();
  return {seed_ ? *seed_ : core::draw_seed(random), 0};
}

}  // namespace grouphead
