// Archives in memory: members in place and compressed ones, and what must be refused.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "io/file.h"
#include "io/zip.h"
#include "support.h"

namespace grouphead::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_support::error_of;

/// A member with whatever its headers claim.
struct Claim {
  std::string name = "a.txt";
  std::string stored = "text";
  std::uint16_t method = 0;
  std::uint16_t flags = 0;
  std::uint64_t size = 4;
  std::uint32_t crc = 0;
  std::size_t extra = 0;  ///< bytes between the local header and the data
};

void put(std::string& out, std::uint64_t value, std::size_t width) {
  out.append(reinterpret_cast<const char*>(&value), width);
}

std::uint32_t crc_of(const std::string& text) {
  return static_cast<std::uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), text.size()));
}

// The fields that both headers share; sizes beyond 32 bits go to an extra field.
void put_common(std::string& out, const Claim& claim, std::size_t extra) {
  put(out, 45, 2);
  put(out, claim.flags, 2);
  put(out, claim.method, 2);
  put(out, 0, 2);
  put(out, 33, 2);
  put(out, claim.crc, 4);
  put(out, claim.stored.size(), 4);
  put(out, std::min<std::uint64_t>(claim.size, 0xffffffff), 4);
  put(out, claim.name.size(), 2);
  put(out, extra, 2);
}

std::string archive_of(const std::vector<Claim>& claims) {
  std::string out;
  std::string directory;
  for (const Claim& claim : claims) {
    std::string wide;
    if (claim.size >= 0xffffffff) {
      put(wide, 1, 2);
      put(wide, 8, 2);
      put(wide, claim.size, 8);
    }
    put(directory, 0x02014b50, 4);
    put(directory, 45, 2);
    put_common(directory, claim, wide.size());
    directory.append(10, '\0');  // no comment, no attributes
    put(directory, out.size(), 4);
    directory += claim.name + wide;
    put(out, 0x04034b50, 4);
    std::string local = wide;
    if (claim.extra > 0) {
      put(local, 0x9999, 2);
      put(local, claim.extra, 2);
      local.append(claim.extra, 'x');
    }
    put_common(out, claim, local.size());
    out += claim.name + local + claim.stored;
  }
  const std::size_t start = out.size();
  out += directory;
  put(out, 0x06054b50, 4);
  put(out, 0, 4);
  put(out, claims.size(), 2);
  put(out, claims.size(), 2);
  put(out, directory.size(), 4);
  put(out, start, 4);
  put(out, 0, 2);
  return out;
}

std::string deflated(const std::string& text) {
  std::string out(compressBound(text.size()) + 16, '\0');
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

Claim member(const std::string& name, const std::string& text) {
  return {.name = name, .stored = text, .size = text.size(), .crc = crc_of(text)};
}

std::unique_ptr<ZipFile> opened(const std::string& contents) {
  auto owner = std::make_shared<std::vector<char>>(contents.begin(), contents.end());
  return std::make_unique<ZipFile>(OwnedBytes{std::as_bytes(std::span(*owner)), owner}, "x.zip");
}

std::string refusal(const std::string& contents) {
  return error_of<IoError>([&] {
    const auto file = opened(contents);
    for (const std::string& name : file->names()) file->read(name);
  });
}

TEST(Zip, StoredMembersComeInPlace) {
  const std::string text(100, 'a');
  const auto file = opened(archive_of({member("a", "text"), member("b", text)}));
  EXPECT_THAT(file->names(), ElementsAre("a", "b"));
  const OwnedBytes first = file->read("b");
  EXPECT_EQ(first.text(), text);
  EXPECT_EQ(first.bytes.data(), file->read("b").bytes.data());
  EXPECT_FALSE(file->contains("c"));
}

TEST(Zip, ReadsWhatIsCompressedOrElsewhere) {
  const std::string text(100'000, 'a');
  Claim compressed = member("b", text);
  compressed.stored = deflated(text);
  compressed.method = 8;
  Claim padded = member("a", "text");
  padded.extra = 5;
  const auto file = opened(archive_of({padded, compressed, member("c", "last")}));
  EXPECT_EQ(file->read("a").text(), "text");
  EXPECT_EQ(file->read("b").text(), text);
  EXPECT_EQ(file->read("c").text(), "last");
  EXPECT_THAT(error_of<IoError>([&] { file->read("b", 1000); }), HasSubstr("at most 1000 bytes"));
  EXPECT_THAT(error_of<IoError>([&] { file->read("d"); }), HasSubstr("no such member"));
}

TEST(Zip, WritesTheSameBytesForTheSameMembers) {
  const std::filesystem::path path = std::filesystem::path(::testing::TempDir()) / "written.zip";
  const std::string large(3 << 20, 'x');
  write_zip(path, {{"metadata.json", "{}"}, {"model.weights.h5", large}, {"empty", ""}});
  const std::string contents = read_file(path);
  const auto file = opened(contents);
  EXPECT_THAT(file->names(), ElementsAre("metadata.json", "model.weights.h5", "empty"));
  EXPECT_EQ(file->read("model.weights.h5").text(), large);
  EXPECT_EQ(file->read("model.weights.h5").bytes.data(),
            file->read("model.weights.h5").bytes.data());
  EXPECT_EQ(file->read("empty").text(), "");
  write_zip(path, {{"metadata.json", "{}"}, {"model.weights.h5", large}, {"empty", ""}});
  EXPECT_EQ(read_file(path), contents);
}

TEST(Zip, RefusesWhatLeadsOut) {
  for (const char* name : {"../a", "/a", "a/../../b"}) {
    EXPECT_THAT(refusal(archive_of({member(name, "text")})), HasSubstr("leads out")) << name;
  }
}

TEST(Zip, MembersThatNobodyReadsDoNotMatter) {
  Claim encrypted = member("secret", "text");
  encrypted.flags = 1;
  Claim packed = member("packed", "text");
  packed.method = 14;
  const auto file = opened(archive_of({member("a", "text"), member("../up", "text"), encrypted,
                                       packed, member("assets\\vocab.txt", "words")}));
  EXPECT_EQ(file->read("a").text(), "text");
  EXPECT_EQ(file->read("assets\\vocab.txt").text(), "words");
  EXPECT_THAT(error_of<IoError>([&] { file->read("secret"); }), HasSubstr("encrypted"));
  EXPECT_THAT(error_of<IoError>([&] { file->read("packed"); }),
              HasSubstr("got lzma, which libzip here does not read"));
}

TEST(Zip, BytesBeforeAndBehindArePassedOver) {
  const std::string whole = archive_of({member("a", "text"), member("b", "more")});
  std::string comment = whole;
  comment[comment.size() - 2] = 5;
  for (const std::string& contents :
       {"#!/bin/sh\n" + whole, whole + std::string(100, '\0'), "front" + whole + "behind",
        comment + "hello", comment + "hello and more", whole + "PK\5\6" + std::string(30, 'x')}) {
    EXPECT_EQ(opened(contents)->read("b").text(), "more");
  }
  EXPECT_NE(refusal("front" + whole.substr(0, whole.size() - 30)), "no error");
}

TEST(Zip, GivesTheBeginningOfAMember) {
  const std::string text = std::string(50'000, 'a') + std::string(50'000, 'b');
  Claim compressed = member("b", text);
  compressed.stored = deflated(text);
  compressed.method = 8;
  const auto file = opened(archive_of({member("a", text), compressed}));
  for (const char* name : {"a", "b"}) {
    EXPECT_EQ(file->front(name, 10), "aaaaaaaaaa");
    EXPECT_EQ(file->front(name, 200'000), text);
    EXPECT_EQ(file->size_of(name), text.size());
  }
}

TEST(Zip, MembersThatWouldGrowTooFarAreRefusedBeforeTheyDo) {
  const std::string zeros(std::size_t{65} << 20, '\0');
  Claim large = member("a", zeros);
  large.stored = deflated(zeros);
  large.method = 8;
  EXPECT_THAT(refusal(archive_of({large})), HasSubstr("at most 100 bytes for each"));
}

TEST(Zip, RefusesClaimsAndDamage) {
  Claim bomb = member("a", std::string(1000, 'a'));
  bomb.method = 8;
  bomb.size = std::uint64_t{5} << 30;
  EXPECT_THAT(refusal(archive_of({bomb})), HasSubstr("at most 100 bytes for each"));
  Claim encrypted = member("a", "text");
  encrypted.flags = 1;
  EXPECT_THAT(refusal(archive_of({encrypted})), HasSubstr("encrypted"));
  Claim wrong = member("a", "text");
  wrong.crc ^= 1;
  EXPECT_THAT(refusal(archive_of({wrong})), HasSubstr("checksum"));
  EXPECT_THAT(refusal(archive_of({member("a", "1"), member("a", "2")})), HasSubstr("[zip]"));
  EXPECT_THAT(refusal("no archive"), HasSubstr("[zip] x.zip"));
  const std::string text(10'000, 'a');
  Claim longer = member("a", text);
  longer.stored = deflated(text + text);
  longer.method = 8;
  EXPECT_NE(refusal(archive_of({longer})), "no error");
}

TEST(Zip, RefusesArchivesThatAreCutOffOrChanged) {
  const std::string text = "0123456789";
  Claim compressed = member("b", text);
  compressed.stored = deflated(text);
  compressed.method = 8;
  std::string whole = archive_of({member("a", text), compressed});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(refusal(whole.substr(0, size)), "no error") << size;
  }
  for (std::size_t i = 0; i < whole.size(); ++i) {
    whole[i] = static_cast<char>(~whole[i]);
    refusal(whole);  // an error, or a field that nobody reads
    whole[i] = static_cast<char>(~whole[i]);
  }
  EXPECT_EQ(refusal(whole), "no error");
}

}  // namespace
}  // namespace grouphead::io
