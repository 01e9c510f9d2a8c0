{#- Everything for `state.apply pipmirror`: the Python packages, the engine, one state for each platform, the pages.
    Only names are passed: settings are read in the module, so no secret shows in `state.show_sls`. -#}
{%- from tpldir ~ "/map.jinja" import engines, faulty, loaded, parallel, platforms, testing with context %}

include:
  - .python
{%- for engine in engines %}
  - {{ engine | tojson }}
{%- endfor %}

{%- if not loaded and testing %}

pipmirror-modules:
  test.configurable_test_state:
    - name: pipmirror's modules are not synced yet, so nothing can be said of the platforms
    - changes: True
    - result: True
    - comment: They would be synced, and every platform would be built.

{%- else %}
{%-   if not loaded %}

pipmirror-modules:
  saltutil.sync_all:
    - refresh: True
    - reload_modules: True
    - require:
      - pip: pipmirror-python
{%-   endif %}

{%-   for mirror, platform, engine in platforms %}

{{ ("pipmirror-" ~ mirror ~ "-" ~ platform) | tojson }}:
  pipmirror.synced:
    - name: {{ platform | tojson }}
    - mirror: {{ mirror | tojson }}
{%-     if "pipmirror-" ~ mirror ~ "-" ~ platform in parallel %}
    - parallel: True
{%-     endif %}
{%-     if not loaded or engine %}
    - require:
{%-       if not loaded %}
      - saltutil: pipmirror-modules
{%-       endif %}
{%-       if engine %}
      - sls: {{ engine | tojson }}
{%-       endif %}
{%-     endif %}
{%-   endfor %}
{%-   if faulty or not platforms %}

pipmirror-declaration:
  pipmirror.synced:
    - name: the declaration
{%-     if not loaded %}
    - require:
      - saltutil: pipmirror-modules
{%-     endif %}
{%-   endif %}
{%-   if not faulty %}

pipmirror-published:
  pipmirror.published:
    - name: the index pages
    - order: last
{%-     if not loaded %}
    - require:
      - saltutil: pipmirror-modules
{%-     endif %}
{%-     if parallel %}
    {#- Salt waits for parallel states where they are required; the first never fails, so that no platform's failure
        keeps the pages of the others from being looked at. #}
    - require_any:
      - test: pipmirror-python
{%-       for id in parallel %}
      - pipmirror: {{ id | tojson }}
{%-       endfor %}
{%-     endif %}
{%-   endif %}
{%- endif %}
