"""A page of the C++ reference for each public header: cpp_pages.py XML TO, from Doxygen's XML."""

import collections
import pathlib
import sys
import xml.etree.ElementTree as ElementTree

DIRECTIVES = {
    "function": "doxygenfunction",
    "enum": "doxygenenum",
    "typedef": "doxygentypedef",
    "variable": "doxygenvariable",
}


def members(xml):
    """(header, directive, name) of everything in the namespace: classes, enums, functions, ..."""
    found = []
    for path in sorted(xml.glob("namespacegrouphead*.xml")):
        space = ElementTree.parse(path).getroot().find("compounddef")
        name = space.findtext("compoundname")
        if "detail" in name:
            continue
        for each in space.iter("memberdef"):
            text = f"{name}::{each.findtext('name')}"
            if each.get("kind") == "function":
                text += each.findtext("argsstring").replace(" noexcept", "")
            found.append((each.find("location").get("file"), DIRECTIVES[each.get("kind")], text))
    # Breathe does not tell a function from a template with the same arguments: these by name alone.
    twins = {entry for entry, count in collections.Counter(found).items() if count > 1}
    found = {(header, "cpp:function" if (header, directive, text) in twins else directive,
              f"auto {text}" if (header, directive, text) in twins else text)
             for header, directive, text in found}
    for kind in ("class", "struct"):
        for path in xml.glob(f"{kind}grouphead_1_1*.xml"):
            compound = ElementTree.parse(path).getroot().find("compounddef")
            name = compound.findtext("compoundname")
            if "detail::" in name or compound.get("prot") != "public" or "<" in name:
                continue
            outer = path.stem.partition("grouphead_1_1")[2].rpartition("_1_1")[0]
            if any((xml / f"{other}grouphead_1_1{outer}.xml").exists() for other in ("class", "struct")):
                continue  # the outer one's page shows it
            found.add((compound.find("location").get("file"), f"doxygen{kind}", name))
    return sorted(found)


def main(xml, to):
    to.mkdir(parents=True, exist_ok=True)
    pages = {}
    for header, directive, name in members(xml):
        pages.setdefault(header, []).append((directive, name))
    for header, entries in pages.items():
        title = f"``{header}``"
        text = f"{title}\n{'=' * len(title)}\n"
        for directive, name in entries:
            text += f"\n.. {directive}:: {name}\n"
            if directive in ("doxygenclass", "doxygenstruct"):
                text += "   :members:\n"
        (to / f"{page_name(header)}.rst").write_text(text)
    entries = "\n".join(f"   {page_name(header)}" for header in sorted(pages))
    title = "C++ reference"
    (to / "index.rst").write_text(
        f"{title}\n{'=' * len(title)}\n\n.. toctree::\n   :maxdepth: 1\n\n{entries}\n"
    )


def page_name(header):
    return header.removesuffix(".h").replace("/", "_")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
