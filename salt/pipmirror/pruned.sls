{#- The state pipmirror.pruned after every platform, also on a minion that has never seen pipmirror: its modules come with
    the SLS that is included, and under test=True there is nothing to be said before they have. -#}
{%- from tpldir ~ "/map.jinja" import faulty, loaded, testing with context %}

include:
  - {{ sls.rpartition(".")[0] | tojson }}

{%- if (loaded or not testing) and not faulty %}

pipmirror-pruned:
  pipmirror.pruned:
    - name: what has outlived its use
    - order: last
    - require:
      - pipmirror: pipmirror-published
{%- endif %}
