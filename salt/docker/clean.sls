{#- Take back what the other files of this directory set up; images, containers and volumes only with docker:remove_data. -#}
{%- from tpldir ~ "/map.jinja" import cold, docker, docker_sls, idle, unknown with context %}
{%- if docker.faults or not docker.managed %}
{{ idle("docker-packages") }}

{%- elif unknown %}

docker-clean:
  test.configurable_test_state:
    - name: docker_engine is not synced to this minion yet; it would be, and the engine would then be removed
    - changes: True

{%- else %}
{%-   if cold %}

include:
  - {{ docker_sls }}.modules
{%-   endif %}
{%-   if docker.engine.service %}

docker-idle:
  docker_engine.idle:
    - name: no container runs that this would stop
    - socket: {{ docker.engine.socket }}
    - force: {{ docker.force }}
{%-     if cold %}
    - require:
      - saltutil: docker-modules
{%-     endif %}

docker-service:
{%-     if docker.has_init %}
  service.dead:
    - name: {{ docker.engine.service }}
    - enable: False
{%-     else %}
  docker_engine.dead:
    - name: docker
    - socket: {{ docker.engine.socket }}
{%-     endif %}
    - require:
      - docker-idle
    - require_in:
      - docker-packages
{%-   endif %}
{%-   if docker.engine.group %}

docker-config:
  docker_config.absent:
    - name: /etc/docker/daemon.json
    - require:
      - docker-service
    - require_in:
      - docker-packages
{%-   endif %}

{%-   if docker.users and docker.engine.group and salt["group.info"](docker.engine.group) %}

docker-users:
  group.present:
    - name: {{ docker.engine.group }}
    - delusers: {{ docker.users | tojson }}
    - require:
      - docker-idle
{%-   endif %}
{%-   if docker.marked %}

docker-released:
  pkg.unheld:
    - pkgs: {{ docker.marked | tojson }}
    - require:
      - docker-idle
    - require_in:
      - docker-packages
{%-   endif %}
{%-   if docker.noted %}

docker-held:
  file.absent:
    - name: {{ docker.mark }}
    - require:
      - docker-packages
{%-   endif %}

docker-packages:
{%-   if docker.own.manager == "chocolatey" %}
  chocolatey.uninstalled:
    - name: {{ docker.own.packages[0] }}
{%-   else %}
  pkg.removed:
    - pkgs: {{ docker.names | tojson }}
{%-   endif %}
{%-   if docker.repo.kind == "apt" %}

docker-repository:
  file.absent:
    - names:
      - {{ docker.repo.file }}
      - {{ docker.repo.keyring }}
    - require:
      - docker-packages
{%-   elif docker.repo.kind == "rpm" %}

docker-repository:
  pkgrepo.absent:
    - name: docker-ce-stable
    - require:
      - docker-packages

docker-keyring:
  file.absent:
    - name: /etc/pki/rpm-gpg/RPM-GPG-KEY-docker-ce
    - require:
      - docker-repository
{%-   endif %}
{%-   if docker.remove_data and docker.engine.data %}

docker-data:
  docker_engine.purged:
    - name: images, containers and volumes
    - directories: {{ docker.engine.data | tojson }}
    - require:
      - docker-packages
{%-   endif %}
{%- endif %}
