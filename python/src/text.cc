// Tokenizers.

#include <nanobind/nanobind.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "contexts.h"
#include "grouphead/text/tokenizer.h"
#include "models.h"

namespace grouphead::python {
namespace {

/// UTF-8; bytes that are not become U+FFFD.
nb::str text_to(const std::string& text) {
  PyObject* made =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (made == nullptr) throw nb::python_error();
  return nb::steal<nb::str>(made);
}

std::vector<Encoding> encoded(const Tokenizer& tokenizer, const std::vector<std::string>& texts,
                              bool add_special_tokens) {
  const nb::gil_scoped_release released;
  ContextLease lease;
  return tokenizer.encode_batch(*lease, texts, {.add_special_tokens = add_special_tokens});
}

void define_tokenizer(nb::module_& m) {
  nb::class_<Tokenizer>(m, "Tokenizer")
      .def("encode",
           [](const Tokenizer& one, std::string_view text, bool add_special_tokens) {
             return one.encode(text, {.add_special_tokens = add_special_tokens});
           })
      .def("encode_pair",
           [](const Tokenizer& one, std::string_view first, std::string_view second,
              bool add_special_tokens) {
             return one.encode_pair(first, second, {.add_special_tokens = add_special_tokens});
           })
      .def("encode_batch", encoded)
      .def("decode",
           [](const Tokenizer& one, const std::vector<std::int32_t>& ids, bool skip) {
             return text_to(one.decode(ids, {.skip_special_tokens = skip}));
           })
      .def("token_to_id", &Tokenizer::token_to_id)
      .def("id_to_token",
           [](const Tokenizer& one, std::int32_t id) -> nb::object {
             const std::optional<std::string> token = one.id_to_token(id);
             return token ? nb::object(text_to(*token)) : nb::none();
           })
      .def("vocabulary_size", &Tokenizer::vocabulary_size);
  m.def("load_tokenizer", [](const std::filesystem::path& path) {
    const nb::gil_scoped_release released;
    return Tokenizer::load(path);
  });
}

}  // namespace

void define_text(nb::module_& m) {
  nb::class_<Encoding>(m, "Encoding")
      .def_ro("ids", &Encoding::ids)
      .def_ro("type_ids", &Encoding::type_ids)
      .def_ro("attention_mask", &Encoding::attention_mask)
      .def_ro("special_tokens_mask", &Encoding::special_tokens_mask);
  define_tokenizer(m);
  nb::class_<StreamDecoder>(m, "StreamDecoder")
      .def("__init__",
           [](StreamDecoder* self, const Tokenizer& tokenizer, bool skip) {
             new (self) StreamDecoder(tokenizer, {.skip_special_tokens = skip});
           })
      .def("push", [](StreamDecoder& one, std::int32_t id) { return text_to(one.push(id)); })
      .def("finish", [](StreamDecoder& one) { return text_to(one.finish()); });
}

}  // namespace grouphead::python
