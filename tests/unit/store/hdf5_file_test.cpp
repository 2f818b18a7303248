// The container: what is declared comes back, foreign or damaged files are refused by name.
#include "store/hdf5_file.hpp"

#include <gmock/gmock.h>
#include <hdf5.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "base/error.hpp"
#include "store/region_file.hpp"

namespace osler::store {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class Hdf5File : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("osler_store_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  static void write(const std::string& path, std::span<const std::byte> bytes) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  }
  fs::path folder_;
};

template <class T>
void fill(std::span<std::byte> bytes, T first) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::iota(values.begin(), values.end(), first);
  std::memcpy(bytes.data(), values.data(), bytes.size());
}

Image small_image() {
  Image image;
  image.declare("model/a.weight", DType::bf16, {3, 4},
                {{"global_shape", std::vector<std::int64_t>{6, 4}}, {"offset", std::vector<std::int64_t>{}}});
  image.declare("model/b", DType::fp32, {5}, {{"note", std::string("größe")}, {"empty", std::string()}});
  image.declare("optim/exp_avg/b", DType::fp64, {2, 3, 4});
  image.declare("nothing", DType::u16, {0, 7});
  image.declare("one", DType::i64, {});
  image.declare("half", DType::fp16, {2});
  image.declare_text("meta/config", "line 1\nline 2");
  image.declare_text("meta/empty", "");
  image.set_attributes("", {{"format_version", std::int64_t{1}}, {"pi", 3.25}, {"kind", std::string("test")}});
  image.set_attributes("model", {{"rank", std::int64_t{0}}});
  image.seal();
  fill<std::uint16_t>(image.bytes_of("model/a.weight"), 0x3f80);
  fill<float>(image.bytes_of("model/b"), 1.5F);
  fill<double>(image.bytes_of("optim/exp_avg/b"), 0.0);
  fill<std::int64_t>(image.bytes_of("one"), 42);
  fill<std::uint16_t>(image.bytes_of("half"), 0x3c00);
  return image;
}

TEST_F(Hdf5File, RoundTripsEveryKind) {
  const Image image = small_image();
  write(path("a.h5"), image.bytes());
  const ReadFile file(path("a.h5"));
  ASSERT_EQ(file.datasets().size(), 6U);
  const DatasetInfo& a = file.dataset("model/a.weight");
  EXPECT_EQ(a.dtype, DType::bf16);
  EXPECT_EQ(a.shape, (std::vector<std::int64_t>{3, 4}));
  EXPECT_EQ(std::get<std::vector<std::int64_t>>(a.attributes.at("global_shape")), (std::vector<std::int64_t>{6, 4}));
  EXPECT_TRUE(std::get<std::vector<std::int64_t>>(a.attributes.at("offset")).empty());
  EXPECT_EQ(std::get<std::string>(file.dataset("model/b").attributes.at("note")), "größe");
  EXPECT_EQ(std::get<std::string>(file.dataset("model/b").attributes.at("empty")), "");
  EXPECT_EQ(file.dataset("nothing").shape, (std::vector<std::int64_t>{0, 7}));
  EXPECT_EQ(file.dataset("half").dtype, DType::fp16);
  EXPECT_EQ(std::get<std::int64_t>(file.attributes().at("format_version")), 1);
  EXPECT_EQ(std::get<double>(file.attributes().at("pi")), 3.25);
  EXPECT_EQ(file.read_text("meta/config"), "line 1\nline 2");
  EXPECT_EQ(file.read_text("meta/empty"), "");
  std::int64_t one = 0;
  file.read("one", {}, {}, std::as_writable_bytes(std::span(&one, 1)));
  EXPECT_EQ(one, 42);
  EXPECT_THROW(file.dataset("absent"), DataError);
}

TEST_F(Hdf5File, ReadsAnyRegion) {
  write(path("a.h5"), small_image().bytes());
  const ReadFile file(path("a.h5"));
  for (std::int64_t i = 0; i < 2; ++i)
    for (std::int64_t j = 0; j < 3; ++j)
      for (std::int64_t k = 0; k < 4; ++k) {
        const std::vector<std::int64_t> extent{2 - i, 3 - j, 4 - k};
        std::vector<double> out(static_cast<std::size_t>(extent[0] * extent[1] * extent[2]));
        file.read("optim/exp_avg/b", {i, j, k}, extent, std::as_writable_bytes(std::span(out)));
        std::size_t at = 0;
        for (std::int64_t x = i; x < 2; ++x)
          for (std::int64_t y = j; y < 3; ++y)
            for (std::int64_t z = k; z < 4; ++z) EXPECT_EQ(out[at++], static_cast<double>(x * 12 + y * 4 + z));
      }
}

TEST_F(Hdf5File, EqualDeclarationsGiveEqualBytes) {
  const Image a = small_image();
  const Image b = small_image();
  ASSERT_EQ(a.bytes().size(), b.bytes().size());
  EXPECT_EQ(std::memcmp(a.bytes().data(), b.bytes().data(), a.bytes().size()), 0);
}

TEST_F(Hdf5File, ManyDatasetsStayTogetherAndReleaseGivesZeros) {
  Image image;
  for (int i = 0; i < 3000; ++i)
    image.declare("optim/master/model.layers." + std::to_string(i) + ".weight", DType::fp32, {64, 64},
                  {{"global_shape", std::vector<std::int64_t>{64, 64}}, {"offset", std::vector<std::int64_t>{0, 0}}});
  image.seal();
  // All metadata stands first: otherwise sealing touches every page of the file.
  EXPECT_LT(image.placements().front().offset, 3010U * 2048U + 65536U);
  for (const auto& place : image.placements()) EXPECT_GE(place.offset, image.placements().front().offset);
  const auto& last = image.placements().back();
  fill<float>(image.bytes_of(last.name), 1.0F);
  image.release(0, 0);
  write(path("many.h5"), image.bytes());
  const ReadFile file(path("many.h5"));
  EXPECT_EQ(file.datasets().size(), 3000U);
  EXPECT_EQ(file.dataset(last.name).file_offset, last.offset);
}

TEST_F(Hdf5File, VirtualDatasetShowsTheWhole) {
  write(path("a.h5"), small_image().bytes());
  Image index;
  index.declare_virtual("model/b", DType::fp32, {10}, {{"a.h5", "model/b", {0}, {5}}, {"a.h5", "model/b", {5}, {5}}});
  index.declare_virtual("one", DType::i64, {}, {{"a.h5", "one", {}, {}}});
  index.seal();
  write(path("index.h5"), index.bytes());
  const hid_t file = H5Fopen(path("index.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  ASSERT_GE(file, 0);
  const hid_t dataset = H5Dopen2(file, "model/b", H5P_DEFAULT);
  std::vector<float> values(10, -1);
  EXPECT_GE(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()), 0);
  EXPECT_EQ(values, (std::vector<float>{1.5, 2.5, 3.5, 4.5, 5.5, 1.5, 2.5, 3.5, 4.5, 5.5}));
  H5Dclose(dataset);
  H5Fclose(file);
  EXPECT_THROW(ReadFile(path("index.h5")), DataError);  // ours to write, not to read
}

TEST_F(Hdf5File, RefusesWhatIsNotOurs) {
  struct Case {
    const char* name;
    const char* message;
    void (*make)(hid_t file);
  };
  const Case cases[] = {
      {"chunked", "not contiguous",
       [](hid_t f) {
         const hsize_t n = 8;
         const hid_t s = H5Screate_simple(1, &n, nullptr), p = H5Pcreate(H5P_DATASET_CREATE);
         H5Pset_chunk(p, 1, &n);
         H5Dclose(H5Dcreate2(f, "x", H5T_IEEE_F32LE, s, H5P_DEFAULT, p, H5P_DEFAULT));
       }},
      {"external file", "another file",
       [](hid_t f) {
         const hsize_t n = 8;
         const hid_t s = H5Screate_simple(1, &n, nullptr), p = H5Pcreate(H5P_DATASET_CREATE);
         H5Pset_external(p, "/etc/hostname", 0, 32);
         H5Dclose(H5Dcreate2(f, "x", H5T_IEEE_F32LE, s, H5P_DEFAULT, p, H5P_DEFAULT));
       }},
      {"external link", "link",
       [](hid_t f) { H5Lcreate_external("other.h5", "/x", f, "x", H5P_DEFAULT, H5P_DEFAULT); }},
      {"soft link", "link", [](hid_t f) { H5Lcreate_soft("/", f, "x", H5P_DEFAULT, H5P_DEFAULT); }},
      {"never written", "never written",
       [](hid_t f) {
         const hsize_t n = 8;
         const hid_t s = H5Screate_simple(1, &n, nullptr);
         H5Dclose(H5Dcreate2(f, "x", H5T_IEEE_F32LE, s, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
       }},
      {"big endian", "element type",
       [](hid_t f) {
         const hsize_t n = 8;
         const hid_t s = H5Screate_simple(1, &n, nullptr);
         H5Dclose(H5Dcreate2(f, "x", H5T_IEEE_F32BE, s, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
       }},
      {"cycle", "nested", [](hid_t f) { H5Lcreate_hard(f, "/", f, "x", H5P_DEFAULT, H5P_DEFAULT); }},
  };
  for (const Case& c : cases) {
    const std::string file_path = path("case.h5");
    const hid_t file = H5Fcreate(file_path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    c.make(file);
    H5Fclose(file);
    try {
      ReadFile opened(file_path);
      ADD_FAILURE() << c.name << " was accepted";
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("case.h5")) << c.name;
      EXPECT_THAT(error.what(), HasSubstr(c.message)) << c.name;
    }
  }
}

TEST_F(Hdf5File, TruncationAndNoiseAreErrorsNeverCrashes) {
  const Image image = small_image();
  const auto bytes = image.bytes();
  for (std::size_t length = 0; length < bytes.size(); length += 1 + bytes.size() / 97) {
    write(path("cut.h5"), bytes.first(length));
    EXPECT_THROW(ReadFile(path("cut.h5")), Error) << length;
  }
  std::uint64_t state = 7;
  for (int i = 0; i < 400; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    std::vector<std::byte> noisy(bytes.begin(), bytes.end());
    noisy[(state >> 20) % noisy.size()] ^= static_cast<std::byte>(1U << ((state >> 50) % 8));
    write(path("noise.h5"), noisy);
    try {
      const ReadFile file(path("noise.h5"));  // a flip in the data is not seen here: sums are for that
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("noise.h5"));
    }
  }
  EXPECT_THROW(ReadFile(path("absent.h5")), StorageError);
}

TEST_F(Hdf5File, RegionFileJoinsShortRuns) {
  std::vector<std::uint16_t> values(300 * 70);
  std::iota(values.begin(), values.end(), std::uint16_t{0});
  write(path("raw"), std::as_bytes(std::span(values)));
  const RegionFile file(path("raw"));
  std::vector<std::uint16_t> out(290 * 3);
  file.read_region(0, 2, {{300, 70}, {5, 60}, {290, 3}}, std::as_writable_bytes(std::span(out)));
  for (std::size_t row = 0; row < 290; ++row)
    for (std::size_t column = 0; column < 3; ++column)
      EXPECT_EQ(out[row * 3 + column], static_cast<std::uint16_t>((row + 5) * 70 + 60 + column));
  std::vector<std::byte> beyond(10);
  EXPECT_THROW(file.read(file.size() - 5, beyond), DataError);
}

}  // namespace
}  // namespace osler::store
