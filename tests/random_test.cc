#include "grouphead/core/random.h"

#include <Random123/philox.h>
#include <Random123/threefry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#undef philox4x32  // Random123 has macros of these names
#undef threefry2x32

namespace grouphead {
namespace {

using ::testing::ElementsAre;

TEST(Philox, GivesThePublishedAnswers) {
  // Source: Random123, tests/kat_vectors, philox4x32 with 10 rounds.
  EXPECT_THAT(philox4x32({0, 0}, 0).words,
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  constexpr std::uint64_t kOnes = ~std::uint64_t{0};
  EXPECT_THAT(philox4x32({kOnes, kOnes}, kOnes).words,
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(philox4x32({0x299f31d0a4093822, 0x0370734413198a2e}, 0x85a308d3243f6a88).words,
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(Philox, AgreesWithRandom123) {
  r123::Philox4x32 philox;
  RandomKey key{1, 2};
  for (std::uint64_t block = 1; block != 0; block <<= 1) {
    key = {key.seed * 6364136223846793005U + block, key.draw * 2862933555777941757U + 3037000493U};
    const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
    const r123::Philox4x32::ctr_type counter = {
        {low(block), low(block >> 32), low(key.draw), low(key.draw >> 32)}};
    const r123::Philox4x32::key_type philox_key = {{low(key.seed), low(key.seed >> 32)}};
    const auto want = philox(counter, philox_key);
    EXPECT_THAT(philox4x32(key, block).words, ElementsAre(want[0], want[1], want[2], want[3]));
  }
}

TEST(Threefry, AgreesWithRandom123) {
  r123::Threefry2x32_R<20> threefry;
  RandomKey key{1, 2};
  for (std::uint64_t index = 1; index != 0; index <<= 1) {
    key = {key.seed * 6364136223846793005U + index, key.draw * 2862933555777941757U + 3037000493U};
    const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
    const r123::Threefry2x32::ctr_type counter = {{low(index >> 32), low(index)}};
    const r123::Threefry2x32::key_type words = {{low(key.seed), low(key.draw)}};
    const auto want = threefry(counter, words);
    EXPECT_EQ(threefry2x32(key, index), want[0] ^ want[1]);
  }
}

TEST(Threefry, GivesTheBitsOfJax) {
  // Source: JAX 0.10.2, jax.random.bits(jax.random.wrap_key_data([1337, 0]), (4,)) and of [7, 3].
  constexpr std::uint32_t kFirst[] = {0xbfd69700, 0x9922df03, 0x4f16c9d8, 0xc254e854};
  constexpr std::uint32_t kSecond[] = {0x2df8a3cc, 0x9a674d3b, 0xb6ca6111, 0xbe863904};
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(threefry2x32({1337, 0}, i), kFirst[i]);
    EXPECT_EQ(threefry2x32({7, 3}, i), kSecond[i]);
  }
}

// Source: the state of keras.random.SeedGenerator(7), next() after next().
TEST(SeedGenerator, CountsItsDraws) {
  SeedGenerator generator(7);
  for (std::uint32_t draw = 0; draw < 3; ++draw) {
    const RandomKey key = generator.next();
    EXPECT_EQ(key.seed, 7U);
    EXPECT_EQ(key.draw, draw);
  }
  EXPECT_EQ(generator.next_draw(), 3U);
  generator.set_next_draw(1);
  EXPECT_EQ(generator.next().draw, 1U);
  EXPECT_EQ(generator.get_config().to_string(), R"({"seed": 7, "name": "seed_generator"})");
}

TEST(Seed, IsNoneAnIntegerOrAGenerator) {
  RandomStream random(3);
  const auto keys = [&](const Seed& seed) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> found;
    for (int i = 0; i < 3; ++i) {
      const RandomKey key = seed.next(random);
      found.emplace_back(key.seed, key.draw);
    }
    return found;
  };
  using Key = std::pair<std::uint64_t, std::uint64_t>;
  EXPECT_THAT(keys(5), ElementsAre(Key(5, 0), Key(5, 0), Key(5, 0)));
  EXPECT_THAT(keys(std::make_shared<SeedGenerator>(5)),
              ElementsAre(Key(5, 0), Key(5, 1), Key(5, 2)));
  EXPECT_EQ(random.next_draw(), 0U);
  const auto drawn = keys({});
  EXPECT_EQ(random.next_draw(), 3U);
  EXPECT_NE(drawn[0].first, drawn[1].first);
  EXPECT_LT(drawn[0].first, std::uint64_t{1} << 32);
}

TEST(Seed, IsReadFromKerassConfigurations) {
  EXPECT_EQ(Seed::from_config(nullptr).config(), ConfigValue());
  EXPECT_EQ(Seed::from_config(9).config(), ConfigValue(9));
  RandomStream random(3);
  const ConfigValue envelope =
      config_envelope("keras.random", "SeedGenerator", SeedGenerator(8, "mine").get_config());
  const Seed generator = Seed::from_config(envelope);
  EXPECT_EQ(generator.config(), envelope);
  EXPECT_EQ(generator.next(random).draw, 0U);
  EXPECT_EQ(generator.next(random).draw, 1U);
  EXPECT_EQ(random.next_draw(), 0U);
  const ConfigValue unseeded =
      config_envelope("keras.random", "SeedGenerator", ConfigValue::Object{{"seed", nullptr}});
  EXPECT_EQ(Seed::from_config(unseeded).config(), unseeded);
  Seed::from_config(unseeded).next(random);
  EXPECT_EQ(random.next_draw(), 1U);
}

TEST(Seed, RefusesWhatIsNoUnsigned32BitNumber) {
  EXPECT_THROW(Seed(-1), ConfigError);
  EXPECT_THROW(Seed(Index{1} << 32), ConfigError);
  EXPECT_NO_THROW(Seed((Index{1} << 32) - 1));
  EXPECT_THROW(Seed::from_config("7"), ConfigError);
  EXPECT_THROW(Seed::from_config(config_envelope("keras.random", "Other", {})), ConfigError);
}

TEST(RandomStream, NamesEachDrawOnceAndResumes) {
  RandomStream stream(7);
  EXPECT_EQ(stream.next().draw, 0U);
  EXPECT_EQ(stream.next().draw, 1U);
  RandomStream resumed(stream.seed(), stream.next_draw());
  EXPECT_EQ(resumed.next().draw, 2U);
  EXPECT_EQ(resumed.next().seed, 7U);
}

}  // namespace
}  // namespace grouphead
