// Damaged and lying files: each is an error of its kind, in bounded time and memory. What is
// damaged at random is read under the sanitizers by fuzz/ for longer.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <functional>
#include <random>

#include "grouphead/models/model.h"
#include "io/file.h"
#include "io/json.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "nn/constant_config.h"
#include "saved/checkpoint.h"
#include "saved/model_folder.h"
#include "training_support.h"

namespace grouphead {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing_support::error_of;
using testing_support::FolderTest;

using Read = std::function<void(const std::string& bytes)>;

io::OwnedBytes owned(const std::string& bytes) {
  const auto owner = std::make_shared<std::string>(bytes);
  return {std::as_bytes(std::span(*owner)), owner};
}

const Read kSafetensors = [](const std::string& bytes) {
  io::read_safetensors(owned(bytes), "bytes");
};
const Read kNpy = [](const std::string& bytes) { io::read_npy(owned(bytes), "bytes"); };
// What model_from_json() does, its two kinds of errors apart.
const Read kConfig = [](const std::string& bytes) {
  model_from_config(io::parse_json(bytes, "text"));
};

std::string golden(const std::string& file) {
  return io::read_file(std::string(GROUPHEAD_SOURCE_DIR) + "/tests/golden/" + file);
}

/// How often `read` refused `bytes` after each of `count` random changes: bytes, bits, cuts,
/// repeats. Another exception than an Error fails the test.
int refusals(const std::string& bytes, const Read& read, int count, unsigned seed) {
  std::mt19937 random(seed);
  int refused = 0;
  for (int round = 0; round < count; ++round) {
    std::string changed = bytes;
    const auto place = [&] { return random() % changed.size(); };
    switch (round % 4) {
      case 0:
        for (unsigned i = 0; i <= random() % 4; ++i) changed[place()] = static_cast<char>(random());
        break;
      case 1: {
        char& byte = changed[place()];
        byte = static_cast<char>(byte ^ (1 << random() % 8));
        break;
      }
      case 2:
        changed.erase(place(), 1 + random() % 16);
        break;
      default: {
        const std::string part = changed.substr(place(), 1 + random() % 16);
        changed.insert(place(), part);
      }
    }
    try {
      read(changed);
    } catch (const Error&) {
      ++refused;
    }
  }
  return refused;
}

/// Bytes of memory that this process had at most.
Index peak_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return Index{usage.ru_maxrss} * 1024;
}

/// Runs `action` and fails the test where it takes long or much memory.
void bounded(const std::function<void()>& action) {
  const Index before = peak_bytes();
  const auto start = std::chrono::steady_clock::now();
  action();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 30);  // on a busy machine, under sanitizers
  EXPECT_LT(peak_bytes() - before, Index{1} << 30);
}

TEST(HostileFiles, RandomDamageIsRefusedOrHarmless) {
  bounded([] {
    const std::string npy = golden("npy/f4.npy");
    const std::string tensors = golden("graph/nested_chain.safetensors");
    EXPECT_GT(refusals(npy, kNpy, 2000, 1), 500);
    EXPECT_GT(refusals(tensors.substr(0, 2000), kSafetensors, 1000, 2), 500);
    EXPECT_GT(refusals(golden("npy/stored.npz"), kSafetensors, 100, 3), 90);
  });
}

TEST(HostileFiles, DamagedConfigurationsAreErrorsOfTheirKind) {
  bounded([] {
    for (const char* name : {"nested_chain", "attentions", "arithmetic"}) {
      const std::string text = golden(std::string("graph/") + name + ".json");
      EXPECT_GT(refusals(text, kConfig, 300, 4), 100) << name;
      for (std::size_t size = 0; size < text.rfind('}'); size += 37) {
        EXPECT_THROW(kConfig(text.substr(0, size)), IoError) << name << " " << size;
      }
    }
  });
}

TEST(HostileFiles, DeepNestingEndsAtOnce) {
  bounded([] {
    for (const char* open : {"[", "{\"a\":", "[[{\"a\":"}) {
      std::string deep;
      for (int i = 0; i < 200'000; ++i) deep += open;
      EXPECT_THROW(kConfig(deep), IoError);
      EXPECT_THROW(kNpy(deep), IoError);
      EXPECT_THROW(kSafetensors(deep), IoError);
    }
    EXPECT_THROW(kConfig(std::string(std::size_t{65} << 20, '[')), IoError);
  });
}

// 76 KB that would be gigabytes: JSON of many small values, and zeros.
TEST(HostileFiles, SmallArchivesStaySmallInMemory) {
  bounded([&] {
    std::string text = "[";
    while (text.size() < (std::size_t{60} << 20)) text += "[],";
    const auto refusal = [&](const std::string& contents) {
      return error_of<IoError>(
          [&] { io::parse_json(contents, "text", io::JsonLimits::of_file(76'000)); });
    };
    EXPECT_THAT(refusal(text), HasSubstr("at most"));
    text.resize(std::size_t{12} << 20);
    EXPECT_THAT(refusal(text), HasSubstr("values"));
  });
}

// Constants whose first lists claim more than the others hold.
TEST(HostileFiles, ConstantsThatClaimMuchTakeLittle) {
  bounded([] {
    std::string row = "[0";
    for (int i = 0; i < 100'000; ++i) row += ",0";
    std::string rows = row + "]";
    for (int i = 0; i < 100'000; ++i) rows += ",[]";
    const ConfigValue value = io::parse_json("[" + rows + "]", "text");
    EXPECT_THAT(error_of<ConfigError>([&] { nn::constant_from_list(value); }),
                HasSubstr("100001 elements, got 0"));
  });
}

// Models in models, as deep as JSON may be.
TEST(HostileFiles, NestedModelsEndAtTheLimit) {
  bounded([] {
    std::string text = R"({"class_name": "Dense", "config": {"units": 1}})";
    for (int i = 0; i < 84; ++i) {  // three levels of JSON each
      text = R"({"class_name": "Sequential", "config": {"name": "s", "layers": [)" + text + "]}}";
    }
    EXPECT_NO_THROW(kConfig(text));
    for (int i = 0; i < 4; ++i) {
      text = R"({"class_name": "Sequential", "config": {"name": "s", "layers": [)" + text + "]}}";
    }
    EXPECT_THAT(error_of<IoError>([&] { kConfig(text); }), HasSubstr("256"));
  });
}

TEST(HostileFiles, ConfigurationsThatGoInCirclesAreRefused) {
  const auto dense = [](const std::string& name, const std::string& from) {
    return R"({"class_name": "Dense", "name": ")" + name + R"(", "config": {"name": ")" + name +
           R"(", "units": 2}, "inbound_nodes": [{"args": [{"class_name": "__keras_tensor__",)" +
           R"( "config": {"keras_history": [")" + from + R"(", 0, 0]}}], "kwargs": {}}]})";
  };
  const auto model = [](const std::string& layers, const std::string& ends) {
    return R"({"class_name": "Functional", "config": {"name": "m", "layers": [)" + layers +
           R"(], "input_layers": [["x", 0, 0]], "output_layers": [)" + ends + "]}}";
  };
  const std::string input =
      R"({"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_shape": [null, 2],)"
      R"( "dtype": "float32"}, "inbound_nodes": []})";
  EXPECT_NO_THROW(kConfig(model(input + "," + dense("a", "x"), R"(["a", 0, 0])")));
  const std::string circle = input + "," + dense("a", "b") + "," + dense("b", "a");
  EXPECT_THROW(kConfig(model(circle, R"(["a", 0, 0])")), ConfigError);
  EXPECT_THROW(kConfig(model(input + "," + dense("a", "a"), R"(["a", 0, 0])")), ConfigError);
  EXPECT_THROW(kConfig(model(input + "," + dense("a", "x"), R"(["a", 7, 0])")), ConfigError);
  EXPECT_THROW(kConfig(model(input + "," + dense("a", "x"), R"(["a", 0, -1])")), ConfigError);
  EXPECT_THROW(kConfig(model(input + "," + dense("a", "x"), R"(["none", 0, 0])")), ConfigError);
  EXPECT_THROW(kConfig(model(input + "," + dense("x", "x"), R"(["x", 0, 0])")), ConfigError);
}

class HostileCheckpoint : public FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    Trainer trainer(ctx_, testing_support::tiny_config(),
                    TextData(testing_support::example_text(5000), 24));
    saved::save(folder_, trainer, {}, {"text"});
  }

  Context ctx_;
};

TEST_F(HostileCheckpoint, DamageIsRefusedOrHarmless) {
  bounded([&] {
    const std::string state = io::read_file(path("state.safetensors"));
    // The header: configuration, run, names and shapes. Damaged numbers are numbers.
    std::mt19937 random(5);
    std::uint64_t header = 0;
    std::memcpy(&header, state.data(), 8);
    int refused = 0;
    for (int round = 0; round < 150; ++round) {
      std::string changed = state;
      for (unsigned i = 0; i <= random() % 3; ++i) {
        changed[random() % (8 + header)] = static_cast<char>(random());
      }
      io::write_file(path("state.safetensors"), changed);
      try {
        saved::read_checkpoint(folder_);
      } catch (const IoError&) {
        ++refused;
      }
    }
    EXPECT_GT(refused, 75);
    for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{100},
                                   std::size_t{8 + header - 1}, std::size_t{8 + header},
                                   state.size() / 2, state.size() - 1}) {
      io::write_file(path("state.safetensors"), state.substr(0, size));
      EXPECT_THROW(saved::read_checkpoint(folder_), IoError) << size;
    }
  });
}

TEST_F(HostileCheckpoint, ModelFoldersThatClaimMuchTakeLittle) {
  bounded([&] {
    const std::string model = io::read_file(path("model.safetensors"));
    fs::remove(path("config.json"));
    for (const std::string field : {"hidden", "layers", "heads", "kv_heads"}) {
      for (const std::string value : {"1000000000", "-1", "0", "1e9", "null", "\"4\"", "[]"}) {
        io::Safetensors contents = io::read_safetensors(path("model.safetensors"));
        std::string& text = contents.metadata["configuration"];
        const std::size_t begin = text.find('"' + field + '"') + field.size() + 4;
        text.replace(begin, text.find_first_of(",\n", begin) - begin, value);
        io::write_safetensors(path("model.safetensors"), contents);
        EXPECT_THROW(saved::load_language_model(folder_), IoError) << field << " " << value;
        io::write_file(path("model.safetensors"), model);
      }
    }
    for (const std::string field :
         {"hidden_size", "num_layers", "num_heads", "num_key_value_heads", "vocab_size"}) {
      for (const std::string value :
           {"1000000000", "9000000000000000000", "-1", "0", "1e9", "\"4\"", "[]"}) {
        io::Safetensors contents = io::read_safetensors(path("model.safetensors"));
        std::string& text = contents.metadata["model"];
        const std::size_t begin = text.find('"' + field + '"') + field.size() + 4;
        text.replace(begin, text.find_first_of(",\n", begin) - begin, value);
        io::write_safetensors(path("model.safetensors"), contents);
        EXPECT_THROW(saved::load_language_model(folder_), IoError) << field << " " << value;
        io::write_file(path("model.safetensors"), model);
      }
    }
  });
}

}  // namespace
}  // namespace grouphead
