// Caches in files.

#include <gmock/gmock.h>

#include <cstring>
#include <random>

#include "grouphead/files/kv_cache_file.h"
#include "io/file.h"
#include "kv_cache_support.h"
#include "training_support.h"

namespace grouphead {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::CacheForm;
using testing_support::error_of;
using testing_support::name_of_form;
using testing_support::same_bits;
using testing_support::Sequences;

constexpr CacheForm kForms[] = {CacheForm::contiguous, CacheForm::ring, CacheForm::paged};

class KvCacheFile : public testing_support::FolderTest {
 protected:
  static constexpr Index kWindow = 60;
  const AttentionOptions options_{.causal = true, .window_left = kWindow - 1};
  const Sequences sequences_{{2, 300, 300, 4, 2, 24, 40}};
  Context ctx_{{.num_threads = 1}};
  std::filesystem::path file_;

  void SetUp() override {
    FolderTest::SetUp();
    file_ = path("cache.safetensors");
  }

  KvCache made(CacheForm form, Dtype stored) {
    return {ctx_, sequences_.config(form, 2, stored, kWindow)};
  }
};

TEST_F(KvCacheFile, WhatIsLoadedGoesOnBitwiseInEveryForm) {
  for (const Dtype stored : {Dtype::f32, Dtype::bf16, Dtype::u8}) {
    for (const CacheForm from : kForms) {
      for (const CacheForm to : kForms) {
        if (from == CacheForm::ring && to != from) continue;
        KvCache cache = made(from, stored);
        sequences_.feed(ctx_, cache, {150, 40}, options_);
        save_kv_cache(cache, file_);
        KvCache other = made(to, stored);
        sequences_.feed(ctx_, other, {30, 150}, options_);  // is replaced
        load_kv_cache(file_, other);
        EXPECT_THAT(other.lengths(), ElementsAre(150, 40));
        for (const std::vector<Index>& counts :
             std::vector<std::vector<Index>>{{1, 1}, {30, 5}, {1, 70}}) {
          EXPECT_TRUE(same_bits(sequences_.feed(ctx_, other, counts, options_),
                                sequences_.feed(ctx_, cache, counts, options_)))
              << name_of_form(from) << " to " << name_of_form(to) << " " << name_of(stored);
        }
      }
    }
  }
}

TEST_F(KvCacheFile, AnEmptyCacheIsStoredToo) {
  KvCache cache = made(CacheForm::paged, Dtype::u8);
  save_kv_cache(cache, file_);
  KvCache other = made(CacheForm::paged, Dtype::u8);
  sequences_.feed(ctx_, other, {30, 150}, options_);
  load_kv_cache(file_, other);
  EXPECT_EQ(other.length(), 0);
  EXPECT_EQ(other.num_free_blocks(), 10);
}

TEST_F(KvCacheFile, FilesThatDoNotFitAreRefusedByName) {
  KvCache cache = made(CacheForm::contiguous, Dtype::f32);
  sequences_.feed(ctx_, cache, {150, 40}, options_);
  save_kv_cache(cache, file_);
  const auto refusal = [&](KvCacheConfig config) {
    KvCache other(ctx_, config);
    return error_of<IoError>([&] { load_kv_cache(file_, other); });
  };
  const KvCacheConfig fits = sequences_.config(CacheForm::contiguous, 2, Dtype::f32);
  EXPECT_EQ(refusal(fits), "no error");
  KvCacheConfig config = fits;
  config.batch = 3;
  EXPECT_THAT(refusal(config), HasSubstr("cache.safetensors: batch: expected 3, got 2"));
  config = fits;
  config.dtype = Dtype::bf16;
  EXPECT_THAT(refusal(config), HasSubstr("dtype: expected bf16, got f32"));
  config = fits;
  config.capacity = 100;
  EXPECT_THAT(refusal(config), HasSubstr("lengths: expected 0 .. 112, got 150"));
  config.num_blocks = 3;
  config.capacity = 192;
  EXPECT_THAT(refusal(config), HasSubstr("lengths: expected at most 3 blocks, got 4"));
  KvCache ring = made(CacheForm::ring, Dtype::f32);
  sequences_.feed(ctx_, ring, {250, 40}, options_);
  save_kv_cache(ring, file_);
  EXPECT_THAT(refusal(fits), HasSubstr("expected positions from 0 on, got from 128 on"));
  EXPECT_THAT(error_of<IoError>([&] { load_kv_cache(path("none.safetensors"), ring); }),
              HasSubstr("none.safetensors"));
}

TEST_F(KvCacheFile, DamageIsRefusedOrHarmlessAndARefusalChangesNothing) {
  KvCache cache = made(CacheForm::paged, Dtype::u8);
  sequences_.feed(ctx_, cache, {150, 40}, options_);
  save_kv_cache(cache, file_);
  const std::string whole = io::read_file(file_);
  std::uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  const Tensor q = testing_support::uniform({2, 1, 4, 24}, Dtype::f32, 5);
  const auto seen = [&] {
    Tensor out({2, 1, 4, 40});
    attention_cached(ctx_, q, cache, Sequences::kLayer, {}, out);
    return out;
  };
  const Tensor before = seen();
  int refused = 0;
  const auto load = [&](const std::string& bytes) {
    io::write_file(file_, bytes);
    try {
      load_kv_cache(file_, cache);
      load_kv_cache(path("whole.safetensors"), cache);
    } catch (const IoError&) {
      ++refused;
      EXPECT_THAT(cache.lengths(), ElementsAre(150, 40));
      EXPECT_TRUE(same_bits(seen(), before));
    }
  };
  io::write_file(path("whole.safetensors"), whole);
  std::mt19937 random(5);
  for (int round = 0; round < 300; ++round) {
    std::string changed = whole;
    for (unsigned i = 0; i <= random() % 3; ++i) {
      changed[random() % (8 + header)] = static_cast<char>(random());
    }
    load(changed);
  }
  EXPECT_GT(refused, 150);
  refused = 0;
  const std::vector<std::size_t> sizes = {0, 7, 8, 100, 8 + header, whole.size() - 1};
  for (const std::size_t size : sizes) load(whole.substr(0, size));
  EXPECT_EQ(refused, 6);
  // Lengths and first positions that nobody wrote: each is one of the numbers behind the header.
  refused = 0;
  int changed_numbers = 0;
  for (std::size_t i = 8 + header; i + 8 <= whole.size(); i += 8) {
    std::int64_t number = 0;
    std::memcpy(&number, whole.data() + i, 8);
    if (number != 150 && number != 40) continue;
    for (const std::int64_t wrong : {std::int64_t{-1}, std::int64_t{1} << 60, number + 64}) {
      std::string damaged = whole;
      std::memcpy(damaged.data() + i, &wrong, 8);
      load(damaged);
      ++changed_numbers;
    }
  }
  EXPECT_GE(changed_numbers, 6);
  EXPECT_EQ(refused, changed_numbers);
}

}  // namespace
}  // namespace grouphead
