// Seconds that a tokenizer takes for the texts of a file, a line each, on one core:
//
//   bench_tokenizers TOKENIZER FILE ROUNDS
//
// Prints for each round its seconds, then the number of ids and a checksum of them.
// bench/tokenizers runs it beside the package of PyPI.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "grouphead/core/error.h"
#include "grouphead/text/tokenizer.h"

namespace {

std::vector<std::string> lines_of(const char* file) {
  std::vector<std::string> lines;
  std::ifstream in(file, std::ios::binary);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

void measure(const char* path, const char* file, int rounds) {
  const grouphead::Tokenizer tokenizer = grouphead::Tokenizer::load(path);
  const std::vector<std::string> lines = lines_of(file);
  std::size_t count = 0;
  std::uint32_t sum = 0;
  for (int round = 0; round < rounds; ++round) {
    count = 0;
    sum = 0;
    const auto start = std::chrono::steady_clock::now();
    for (const std::string& line : lines) {
      for (const std::int32_t id : tokenizer.encode(line).ids) {
        sum = sum * 31 + static_cast<std::uint32_t>(id);
        ++count;
      }
    }
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    std::printf("%.6f\n", taken.count());
  }
  std::printf("%zu %u\n", count, sum);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fputs("usage: bench_tokenizers TOKENIZER FILE ROUNDS\n", stderr);
    return 2;
  }
  try {
    measure(argv[1], argv[2], std::atoi(argv[3]));
  } catch (const grouphead::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
