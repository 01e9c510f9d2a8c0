{#- The engine's packages, and what has to be out of their way. -#}
{%- from tpldir ~ "/map.jinja" import cold, docker, docker_sls, idle, unknown with context %}
{%- if docker.faults or not docker.managed %}
{{ idle("docker-packages") }}

{%- else %}

include:
  - {{ docker_sls }}.repo
{%-   if docker.rivals and cold and not unknown %}
  - {{ docker_sls }}.modules
{%-   endif %}
{%-   if docker.rivals %}

docker-idle:
{%-     if unknown %}
  test.configurable_test_state:
    - name: docker_engine is not synced to this minion yet; it would be, and would then tell whether containers run
    - changes: False
{%-     else %}
  docker_engine.idle:
    - name: no container runs that the change to {{ docker.provider }} would stop
    - force: {{ docker.force }}
{%-       if cold %}
    - require:
      - saltutil: docker-modules
{%-       endif %}
{%-     endif %}
{%-     if docker.can_fetch and not unknown %}

{# A machine whose new engine cannot be had keeps the one that it has. -#}
docker-fetched:
  docker_engine.fetched:
    - name: the packages of {{ docker.provider }}
    - pkgs: {{ docker.packages | tojson }}
    - require:
      - docker-idle
      - sls: {{ docker_sls }}.repo
    - require_in:
      - docker-conflicting
{%-     endif %}

docker-conflicting:
  pkg.removed:
    - pkgs: {{ docker.rivals | tojson }}
    - require:
      - docker-idle
      - sls: {{ docker_sls }}.repo
    - require_in:
      - docker-packages
{%-   endif %}
{%-   if docker.lock %}

docker-hold:
  pkg.installed:
    - pkgs: {{ docker.lock | tojson }}
    - require_in:
      - docker-packages
{%-   endif %}
{%-   if docker.released %}

docker-released:
  pkg.unheld:
    - pkgs: {{ docker.released | tojson }}
{%-     if docker.rivals %}
    - require:
      - docker-idle
{%-     endif %}
    - require_in:
{%-     if docker.rivals %}
      - {{ "docker-fetched" if docker.can_fetch and not unknown else "docker-conflicting" }}
{%-     endif %}
      - docker-packages
{%-   endif %}
{%-   if docker.kept or docker.noted %}

{# What an administrator holds is not ours to release: this file knows what we hold. #}
docker-held:
{%-     if docker.kept %}
  file.managed:
    - name: {{ docker.mark }}
    - contents: {{ (["# What the docker state holds, and will release:"] + docker.kept) | tojson }}
    - makedirs: True
    - require_in:
      - docker-packages
{%-     else %}
  file.absent:
    - name: {{ docker.mark }}
    - require:
      - docker-packages
{%-     endif %}
{%-   endif %}
{%-   if docker.needs %}

docker-needs:
  pkg.installed:
    - pkgs: {{ docker.needs | tojson }}
    - install_recommends: False
    - require:
      - {{ "docker-conflicting" if docker.rivals else "sls: " ~ docker_sls ~ ".repo" }}
    - require_in:
      - docker-packages
{%-   endif %}

docker-packages:
{%-   if docker.own.manager == "chocolatey" %}
  chocolatey.installed:
    - name: {{ docker.own.packages[0] }}
{%-     if docker.version %}
    - version: {{ docker.version | tojson }}
{%-     endif %}
{%-   else %}
  pkg.installed:
    - pkgs: {{ docker.packages | tojson }}
    {#- Not `onchanges` of the repository: this refreshes whenever a package is missing, and only then. #}
    - refresh: True
{%-     if docker.own.options %}
    - options: {{ docker.own.options | tojson }}
{%-     endif %}
{%-     if docker.system == "Debian" %}
    - install_recommends: False
{%-     endif %}
{%-     if docker.hold %}
    - hold: True
    - update_holds: True
{%-     endif %}
{%-   endif %}
    - require:
      - sls: {{ docker_sls }}.repo
{%- endif %}
