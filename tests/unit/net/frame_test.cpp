// The other end of a stream may be anybody: frames are bounded, and a lie about a length costs the
// liar its connection and us nothing.
#include "net/frame.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "weir/v1/admin.pb.h"

namespace weir::net {
namespace {

std::string header(std::uint32_t bytes) {
  std::string text;
  for (unsigned shift = 0; shift < 32; shift += 8)
    text.push_back(static_cast<char>((bytes >> shift) & 0xff));
  return text;
}

v1::AdminResponse response_of(std::size_t limits) {
  v1::AdminResponse response;
  for (std::size_t i = 0; i < limits; ++i) {
    auto* limit = response.mutable_limits()->add_limits();
    limit->set_name("limit" + std::to_string(i));
    limit->set_amount(i);
  }
  return response;
}

TEST(Frame, IsALittleEndianLengthAndThePayload) {
  v1::AdminResponse response;
  response.set_error(std::string(300, 'x'));

  const std::string frame = encode_frame(response);

  ASSERT_EQ(frame.size(), kFrameHeaderBytes + response.ByteSizeLong());
  EXPECT_EQ(static_cast<unsigned char>(frame[0]), response.ByteSizeLong() & 0xff);
  EXPECT_EQ(static_cast<unsigned char>(frame[1]), response.ByteSizeLong() >> 8);
  EXPECT_EQ(frame[2], 0);
}

TEST(Frame, IsRefusedWhenTheMessageIsTooLarge) {
  v1::AdminResponse response;
  response.set_error(std::string(kFrameBytesMax, 'x'));

  EXPECT_TRUE(encode_frame(response).empty());
}

TEST(FrameReader, PutsTogetherWhatComesByteByByte) {
  const auto sent = response_of(40);
  const std::string frame = encode_frame(sent) + encode_frame(v1::AdminResponse{});
  FrameReader reader;
  std::vector<std::string> payloads;

  for (const char byte : frame) {
    ASSERT_TRUE(reader.push({&byte, 1}));
    while (const auto payload = reader.next())
      payloads.emplace_back(*payload);
  }

  ASSERT_EQ(payloads.size(), 2U);
  v1::AdminResponse received;
  EXPECT_TRUE(decode_payload(payloads[0], received));
  EXPECT_EQ(received.SerializeAsString(), sent.SerializeAsString());
  EXPECT_TRUE(payloads[1].empty());
  EXPECT_FALSE(reader.in_frame());
}

TEST(FrameReader, CutsManyFramesOutOfOneChunk) {
  std::string stream;
  for (std::size_t i = 0; i < 100; ++i)
    stream += encode_frame(response_of(i % 5));
  FrameReader reader;

  ASSERT_TRUE(reader.push(stream));
  std::size_t frames = 0;
  while (reader.next())
    ++frames;

  EXPECT_EQ(frames, 100U);
}

// However a stream is cut into two, the payloads are the same; what lies whole in the caller's
// bytes is not copied.
TEST(FrameReader, TakesWholeFramesFromTheBytesThemselves) {
  const std::string stream = header(3) + "abc" + header(0) + header(5) + "defgh" + header(2) + "ij";
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    FrameReader reader;
    std::vector<std::string> payloads;
    std::size_t in_place = 0;
    for (std::string_view part :
         {std::string_view(stream).substr(0, cut), std::string_view(stream).substr(cut)}) {
      const std::string_view whole = part;
      while (const auto payload = reader.next(part)) {
        payloads.emplace_back(*payload);
        if (payload->data() >= whole.data() && payload->data() <= whole.data() + whole.size())
          ++in_place;
      }
      EXPECT_TRUE(part.empty()) << cut;
    }
    EXPECT_EQ(payloads, (std::vector<std::string>{"abc", "", "defgh", "ij"})) << cut;
    EXPECT_FALSE(reader.in_frame()) << cut;
    if (cut == 0) {
      EXPECT_EQ(in_place, 4U);
    }
  }
}

TEST(FrameReader, BoundsAFrameTakenFromTheBytesThemselves) {
  FrameReader reader{4};
  const std::string stream = header(4) + "abcd" + header(5) + "efghi";
  std::string_view bytes = stream;

  EXPECT_EQ(reader.next(bytes), "abcd");
  EXPECT_FALSE(reader.next(bytes));
  EXPECT_TRUE(reader.failed());
  EXPECT_FALSE(reader.next(bytes));
}

TEST(FrameReader, RefusesFourGigabytesBeforeItKeepsAnything) {
  FrameReader reader;

  EXPECT_FALSE(reader.push(header(UINT32_MAX) + std::string(1000, 'x')));

  EXPECT_TRUE(reader.failed());
  EXPECT_NE(reader.error().find("4294967295"), std::string::npos);
  EXPECT_EQ(reader.buffered_bytes(), 0U);
  EXPECT_FALSE(reader.next());
}

TEST(FrameReader, RefusesALargeLengthBehindAGoodFrame) {
  FrameReader reader;

  ASSERT_TRUE(reader.push(header(2) + "ab" + header(kFrameBytesMax + 1)));

  EXPECT_EQ(reader.next(), "ab");
  EXPECT_FALSE(reader.next());
  EXPECT_TRUE(reader.failed());
}

TEST(FrameReader, AnnouncedBytesCostNothingUntilTheyCome) {
  FrameReader reader;

  ASSERT_TRUE(reader.push(header(kFrameBytesMax)));

  EXPECT_FALSE(reader.next());
  EXPECT_FALSE(reader.failed());
  EXPECT_EQ(reader.buffered_bytes(), kFrameHeaderBytes);
}

TEST(FrameReader, WaitsForTheRestOfATruncatedFrame) {
  const std::string frame = encode_frame(response_of(3));
  FrameReader reader;

  ASSERT_TRUE(reader.push(frame.substr(0, frame.size() - 1)));
  EXPECT_FALSE(reader.next());
  EXPECT_TRUE(reader.in_frame());
  ASSERT_TRUE(reader.push(frame.substr(frame.size() - 1)));

  EXPECT_TRUE(reader.next());
}

TEST(FrameReader, StaysFailed) {
  FrameReader reader{8};
  ASSERT_FALSE(reader.push(header(9)));

  EXPECT_FALSE(reader.push(header(1) + "x"));

  EXPECT_FALSE(reader.next());
}

TEST(FrameReader, IsBoundedWhenNobodyTakesTheFrames) {
  FrameReader reader{1024};
  const std::string chunk = header(1000) + std::string(1000, 'x');

  bool taken = true;
  std::size_t pushes = 0;
  while (taken && pushes < 10'000) {
    taken = reader.push(chunk);
    ++pushes;
  }

  EXPECT_TRUE(reader.failed());
  EXPECT_LT(pushes * chunk.size(), 2 * (kReadChunkBytes + 1024));
}

TEST(FrameReader, SurvivesGarbage) {
  std::mt19937 random{7};
  for (int round = 0; round < 2000; ++round) {
    FrameReader reader{4096};
    std::string bytes(random() % 300, '\0');
    for (char& byte : bytes)
      byte = static_cast<char>(random() % (round % 2 == 0 ? 256 : 4));
    (void)reader.push(bytes);
    while (const auto payload = reader.next()) {
      v1::AdminRequest request;
      (void)decode_payload(*payload, request);
    }
  }
}

TEST(DecodePayload, SaysNoToGarbage) {
  v1::AdminResponse response;

  EXPECT_FALSE(decode_payload("\xff\xff\xff\xff garbage", response));
}

TEST(DecodePayload, SaysNoToTextThatIsNotUtf8) {
  v1::AdminResponse response;

  EXPECT_FALSE(decode_payload(std::string{"\x0a\x02\xff\xfe", 4}, response));
}

}  // namespace
}  // namespace weir::net
