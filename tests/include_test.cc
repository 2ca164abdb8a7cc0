// The rooms of the house: which may include which.

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;

const fs::path kSource = GROUPHEAD_SOURCE_DIR;

// For each room, the rooms whose headers it may include besides its own and the public ones.
const std::map<std::string, std::set<std::string>> kMayInclude = {
    {"kernels", {}},
    {"core", {"kernels"}},  // levels and random words alone, see below
    {"ops", {"kernels", "core"}},
    {"parallel", {"core", "ops"}},
    {"mpi", {}},
    {"nn", {"core", "ops"}},
    {"graph", {"core", "ops", "nn"}},
    {"models", {"core", "ops", "parallel", "nn", "graph"}},
    {"train", {"core", "ops", "parallel", "nn", "graph", "models"}},
    {"io", {"core"}},
    {"text", {"core", "io"}},
    {"saved", {"core", "ops", "nn", "graph", "models", "train", "io"}},
};

// What stands between `open` and `close` in the file's include lines.
std::set<std::string> includes(const fs::path& file, char open, char close) {
  std::set<std::string> found;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with("#include ")) continue;
    const std::size_t begin = line.find(open);
    const std::size_t end = line.find(close, begin + 1);
    if (end != std::string::npos) found.insert(line.substr(begin + 1, end - begin - 1));
  }
  return found;
}

std::set<std::string> quoted_includes(const fs::path& file) { return includes(file, '"', '"'); }

TEST(Rooms, IncludeOnlyWhatTheyMay) {
  int files = 0;
  for (const auto& room : fs::directory_iterator(kSource / "src")) {
    const std::string name = room.path().filename();
    ASSERT_TRUE(kMayInclude.contains(name)) << "a room that the house does not know: " << name;
    for (const auto& file : fs::recursive_directory_iterator(room)) {
      if (!file.is_regular_file()) continue;
      ++files;
      for (const std::string& include : quoted_includes(file.path())) {
        const std::string from = include.substr(0, include.find('/'));
        const bool is_public = from == "grouphead" && name != "kernels";  // kernels see themselves
        EXPECT_TRUE(from == name || is_public || kMayInclude.at(name).contains(from))
            << file.path() << " includes " << include;
      }
    }
  }
  EXPECT_GT(files, 20);
}

TEST(Rooms, CoreKnowsOfKernelsLevelsAndRandomWordsAlone) {
  for (const auto& file : fs::directory_iterator(kSource / "src/core")) {
    for (const std::string& include : quoted_includes(file.path())) {
      EXPECT_TRUE(!include.starts_with("kernels/") || include == "kernels/cpu/level.h" ||
                  include.starts_with("kernels/random/"))
          << include;
    }
  }
}

// The names after `namespace` of the lines that open one.
std::vector<std::string> opened_namespaces(const fs::path& file) {
  constexpr std::string_view kOpen = "namespace ";
  std::vector<std::string> found;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(kOpen) || !line.ends_with(" {")) continue;
    const std::size_t begin = kOpen.size();
    if (line.size() > begin + 2) found.push_back(line.substr(begin, line.size() - begin - 2));
  }
  return found;
}

// Namespaces inside of grouphead that public headers define, as initializers.
std::set<std::string> public_namespaces() {
  std::set<std::string> found;
  for (const auto& file : fs::recursive_directory_iterator(kSource / "include/grouphead")) {
    if (!file.is_regular_file()) continue;
    for (const std::string& name : opened_namespaces(file.path())) found.insert(name);
  }
  for (const auto& room : kMayInclude) found.erase(room.first);  // declared ahead
  found.erase("detail");
  return found;
}

// A file of src/nn opens grouphead::nn, and grouphead for what is public.
TEST(Rooms, OpenTheirOwnNamespace) {
  const std::set<std::string> defined = public_namespaces();
  EXPECT_TRUE(defined.contains("initializers"));
  int opened = 0;
  for (const auto& room : fs::directory_iterator(kSource / "src")) {
    const std::string name = room.path().filename();
    for (const auto& file : fs::recursive_directory_iterator(room)) {
      if (!file.is_regular_file()) continue;
      for (const std::string& space : opened_namespaces(file.path())) {
        ++opened;
        constexpr std::string_view kOuter = "grouphead::";
        const std::string inner = space.substr(space.starts_with(kOuter) ? kOuter.size() : 0);
        const bool is_own = inner == name || inner.starts_with(name + "::");
        const bool is_public = defined.contains(inner);
        EXPECT_TRUE(is_own || is_public || inner == "HWY_NAMESPACE")
            << file.path() << " opens namespace " << space;
      }
    }
  }
  EXPECT_GT(opened, 200);
}

TEST(PublicHeaders, IncludeOnlyPublicHeadersAndStd) {
  for (const auto& file : fs::recursive_directory_iterator(kSource / "include/grouphead")) {
    if (!file.is_regular_file()) continue;
    for (const std::string& include : quoted_includes(file.path())) {
      EXPECT_TRUE(include.starts_with("grouphead/")) << file.path() << " includes " << include;
    }
    for (const std::string& include : includes(file.path(), '<', '>')) {
      EXPECT_EQ(include.find('/'), std::string::npos) << file.path() << ": " << include;
      EXPECT_EQ(include.find(".h"), std::string::npos) << file.path() << ": " << include;
    }
  }
}

// A program pays for what the headers include in each of its sources.
TEST(PublicHeaders, LeaveOutWhatIsSlowToCompile) {
  const std::set<std::string> heavy = {"algorithm", "chrono",   "fstream",  "future",
                                       "iomanip",   "iostream", "iterator", "numeric",
                                       "ranges",    "regex",    "sstream",  "thread"};
  for (const auto& file : fs::recursive_directory_iterator(kSource / "include/grouphead")) {
    if (!file.is_regular_file()) continue;
    for (const std::string& include : includes(file.path(), '<', '>')) {
      EXPECT_FALSE(heavy.contains(include)) << file.path() << " includes <" << include << ">";
    }
  }
}

// A shared library hides all else.
TEST(PublicHeaders, MakeTheirDeclarationsVisible) {
  for (const auto& file : fs::recursive_directory_iterator(kSource / "include/grouphead")) {
    if (!file.is_regular_file()) continue;
    std::ifstream in(file.path());
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const std::size_t first = text.find("\nnamespace grouphead");
    if (first == std::string::npos) continue;  // it only includes others
    constexpr std::string_view kPush = "#pragma GCC visibility push(default)";
    EXPECT_EQ(text.find(kPush) + kPush.size(), first) << file.path();
    EXPECT_TRUE(text.ends_with("\n#pragma GCC visibility pop\n")) << file.path();
  }
}

TEST(Files, StayShort) {
  for (const char* folder : {"src", "include", "testing", "tools", "tests", "fuzz"}) {
    for (const auto& file : fs::recursive_directory_iterator(kSource / folder)) {
      const std::string extension = file.path().extension();
      if (extension != ".cc" && extension != ".h") continue;
      std::ifstream in(file.path());
      int lines = 0;
      for (std::string line; std::getline(in, line);) ++lines;
      EXPECT_LT(lines, 500) << file.path();
    }
  }
}

}  // namespace
