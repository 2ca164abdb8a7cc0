#include <span>

#include "io/file.h"
#include "io/json.h"
#include "saved/keras_weights.h"

namespace grouphead::saved {
namespace {

namespace fs = std::filesystem;

const std::string kOptimizer = "optimizer";

/// An object and what is written of it.
struct Contents {
  std::string path;
  std::string name;
  std::vector<StoredArray> arrays{};
  std::vector<Tensor> owned{};  // arrays that are in no parameter
  std::unique_ptr<nn::QuantizedNumbers> merged{};
};

// Keras's iteration has 32 bits on JAX. The learning rate keeps its 64, which Keras rounds.
Contents contents_of(const std::string& path, const std::string& name,
                     std::span<const OptimizerVariable> variables) {
  Contents contents{.path = path, .name = name};
  for (const OptimizerVariable& variable : variables) {
    contents.owned.push_back(variable.value);
    if (variable.value.dtype() != Dtype::i64) continue;
    Tensor iteration({}, Dtype::i32);
    *iteration.data<std::int32_t>() =
        static_cast<std::int32_t>(*variable.value.data<std::int64_t>());
    contents.owned.back() = iteration;
  }
  for (const Tensor& tensor : contents.owned) contents.arrays.push_back({tensor.view()});
  return contents;
}

/// The state of an optimizer; that of one whose loss is scaled as Keras's LossScaleOptimizer has
/// it, which lists the state inside twice.
void append_contents(const Optimizer& optimizer, std::vector<Contents>& all) {
  constexpr std::size_t kOwn = 4;
  constexpr std::string_view kLast = "/dynamic_scale";
  const std::vector<OptimizerVariable> variables = optimizer.variables();
  const bool scales = variables.size() > kOwn && variables[kOwn - 1].path.ends_with(kLast);
  std::string name = optimizer.name();
  if (scales) {
    const std::string& path = variables[kOwn - 1].path;
    name = path.substr(0, path.size() - kLast.size());
  }
  all.push_back(contents_of(kOptimizer, name, variables));
  if (!scales) return;
  all.push_back(contents_of(kOptimizer + "/inner_optimizer", optimizer.name(),
                            std::span(variables).subspan(kOwn)));
}

std::vector<Contents> contents_of(const std::vector<KerasObject>& objects,
                                  const Optimizer* optimizer) {
  std::vector<Contents> all;
  for (const KerasObject& object : objects) {
    Contents& contents = all.emplace_back(Contents{.path = object.path, .name = object.name});
    contents.arrays = stored_arrays(object.variables);
    if (object.lora == nullptr) continue;
    contents.owned.push_back(object.lora->merged());
    if (const auto* const numbers = object.variables[0]->quantized()) {
      contents.merged = numbers->requantized(contents.owned[0]);
      contents.arrays = stored_arrays(object.variables, contents.merged.get());
      continue;
    }
    contents.arrays[0] = {contents.owned[0].view()};
  }
  if (optimizer != nullptr && optimizer->is_built()) append_contents(*optimizer, all);
  return all;
}

std::string variables_of(const Contents& contents) {
  return contents.path.empty() ? "vars" : contents.path + "/vars";
}

void write_group(const Contents& contents, io::Hdf5Writer& file) {
  const std::string group = variables_of(contents);
  file.group(group);
  file.text(group, "name", contents.name);
}

void write_array(const Contents& contents, std::size_t i, io::Hdf5Writer& file) {
  const StoredArray& array = contents.arrays[i];
  const std::string path = variables_of(contents) + "/" + std::to_string(i);
  array.is_int8 ? file.int8_dataset(path, array.numbers) : file.dataset(path, array.numbers);
}

/// Files of at most so many bytes of numbers.
class Shards {
 public:
  Shards(const fs::path& list, Index largest) : list_(list), largest_(largest) {
    base_ = list.filename().string();
    base_.resize(base_.size() - std::string_view(".weights.json").size());
  }

  void add(const Contents& contents) {
    for (std::size_t i = 0; i < contents.arrays.size(); ++i) {
      const Index bytes = contents.arrays[i].numbers.bytes();
      if (bytes > largest_) {
        throw IoError("[save] " + list_.string() + ": " + variables_of(contents) + "/" +
                      std::to_string(i) + ": expected at most " + std::to_string(largest_) +
                      " bytes, got " + std::to_string(bytes));
      }
      if (file_ && bytes_ + bytes > largest_) close();
      if (!file_) file_ = std::make_unique<io::Hdf5Writer>(0);
      const std::string group = std::string("/").append(variables_of(contents));
      if (group != last_group_) write_group(contents, *file_);
      last_group_ = group;
      write_array(contents, i, *file_);
      bytes_ += bytes;
      total_ += bytes;
      list_file(group);
    }
  }

  void finish() {
    if (file_) close();
    const ConfigValue json = ConfigValue::Object{
        {"metadata", ConfigValue::Object{{"total_size", static_cast<double>(total_)}}},
        {"weight_map", map_}};
    io::write_file(list_, io::json_text(json, 4));
  }

 private:
  std::string file_name() const {
    std::string digits = std::to_string(count_);
    digits.insert(0, digits.size() < 5 ? 5 - digits.size() : 0, '0');
    return std::string(base_).append("_").append(digits).append(".weights.h5");
  }

  void list_file(const std::string& group) {
    ConfigValue::List files =
        map_.contains(group) ? map_[group].as_list("weight_map") : ConfigValue::List{};
    if (files.empty() || files.back() != ConfigValue(file_name())) files.emplace_back(file_name());
    map_.set(group, std::move(files));
  }

  void close() {
    io::write_file(list_.parent_path() / file_name(), file_->finish());
    file_.reset();
    last_group_.clear();
    bytes_ = 0;
    ++count_;
  }

  fs::path list_;
  std::string base_;
  Index largest_;
  ConfigValue map_ = ConfigValue::Object{};
  std::unique_ptr<io::Hdf5Writer> file_;
  std::string last_group_;
  Index bytes_ = 0;
  Index total_ = 0;
  int count_ = 0;
};

}  // namespace

std::unique_ptr<io::Hdf5Writer> weights_file(const std::vector<KerasObject>& objects,
                                             const Optimizer* optimizer) {
  const std::vector<Contents> all = contents_of(objects, optimizer);
  constexpr Index kAround = 2048;  // bytes of a group or array besides its numbers
  Index bytes = 0;
  for (const Contents& contents : all) {
    bytes += kAround;
    for (const StoredArray& array : contents.arrays) bytes += array.numbers.bytes() + kAround;
  }
  auto file = std::make_unique<io::Hdf5Writer>(bytes);
  for (const Contents& contents : all) {
    write_group(contents, *file);
    for (std::size_t i = 0; i < contents.arrays.size(); ++i) write_array(contents, i, *file);
  }
  return file;
}

void save_sharded(const std::vector<KerasObject>& objects, const Optimizer* optimizer,
                  const fs::path& list, Index largest_shard) {
  Shards shards(list, largest_shard);
  for (const Contents& contents : contents_of(objects, optimizer)) shards.add(contents);
  shards.finish();
}

}  // namespace grouphead::saved
